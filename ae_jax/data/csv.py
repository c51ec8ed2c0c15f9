"""Tables of numbers in text files, one example per row, as is usual for time series."""

from __future__ import annotations

import csv
import gzip
import math
import re
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from ae_jax.data.splits import hold_out, require_split
from ae_jax.data.validate import validated
from ae_jax.files import memory_limit, require_regular

LABEL = "label"
NAMELESS = ("", "unnamed: 0")
"""Names of an index: as pandas and R write it, and as pandas writes it the second time."""
MISSING = ("", "?", "-", "na", "n/a", "nan", "null", "none")
SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab"}
THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+")
"""1,234 may be a thousand or 1.234. In a table with semicolons it is the latter: they are written
where the comma is the decimal mark."""


def load_csv(path: Path, split: str) -> dict[str, np.ndarray]:
    """Load a split of a table; `splits.hold_out` puts a fixed fifth into the test split.

    Each row is an example; all rows have the same number of cells. `ae_jax/data/README.md` states
    how the separator, decimal commas, a header, an index and labels are recognized. The file may be
    gzipped.

    Returns:
      {"x": float32 [N, T]}, and "label": int32 [N] if the table has that column.

    Raises:
      ValueError: an unknown split, no rows, or a cell that cannot be read without a guess (with the
        separator, the line and the column).
      OSError: the file cannot be opened.
    """
    require_split(split, ("train", "test"), path)
    require_regular(path, limit=memory_limit(), links=True)
    try:
        names, table = _read(path)
    except (csv.Error, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not a text table: {error}") from None
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(f"{path} is not a complete .gz file: {error}") from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    try:
        data = validated(_columns(table, names))
        return validated(hold_out(data, split))
    except (TypeError, ValueError) as error:
        raise type(error)(f"{path}: {error}") from error


def _lines(path: Path) -> Iterator[str]:
    """The lines of a text file, which may be gzipped: its size is not trusted."""
    opener = gzip.open if path.suffix.lower() == ".gz" else open
    limit, size = memory_limit(), 0
    with opener(path, "rt", encoding="utf-8-sig", newline="") as file:
        while line := file.readline(limit):
            size += len(line)
            if size >= limit:
                raise ValueError(f"it holds more than {limit} bytes, half of this machine's memory")
            yield str(line)


def _read(path: Path) -> tuple[list[str] | None, np.ndarray]:
    """The names of the columns, or None without a header, and the numbers [N, columns]."""
    separator = _separator(next((line for line in _lines(path) if line.strip()), ""))
    about = f"(separator: {SEPARATORS[separator]})"
    names: list[str] | None = None
    rows: list[list[float]] = []
    marks: dict[str, str] = {}  # decimal mark -> the first line with it
    reader, width = csv.reader(_lines(path), delimiter=separator), 0
    for row in reader:
        texts, line = [cell.strip() for cell in row], f"line {reader.line_num}"
        if not any(texts) and len(texts) < 2:
            continue
        cells = [_with_point(text, separator) for text in texts]
        if not width:
            width = len(cells)
            if _is_header(texts, cells, line, about):
                names = [text.lower() for text in texts]
                continue
        if len(cells) != width:
            raise ValueError(f"{line} has {len(cells)} cells, not {width} {about}")
        for mark in {",", "."} - marks.keys() if separator != "," else ():
            if any(mark in text for text in texts):
                marks[mark] = line
        try:
            rows.append([float(cell) for cell in cells])
        except ValueError:
            rows.append([math.nan])
        if not all(map(math.isfinite, rows[-1])):
            raise ValueError(f"{line}, {_first_problem(texts, cells, names)} {about}")
    if len(marks) > 1:
        raise ValueError(
            f"{marks[',']} has a decimal comma and {marks['.']} a decimal point {about}: use one "
            "of them, and nothing between thousands"
        )
    if not rows:
        raise ValueError("it has no rows of numbers")
    return names, np.array(rows)


def _separator(line: str) -> str:
    """A tab if it cuts the first line, else a semicolon if that does, else a comma."""
    return next((mark for mark in "\t;" if len(next(csv.reader([line], delimiter=mark))) > 1), ",")


def _with_point(text: str, separator: str) -> str:
    """A number with a decimal point: where commas do not separate cells, they may be decimal."""
    if separator == "," or (separator == "\t" and THOUSANDS.fullmatch(text)):
        return text
    return text.replace(",", ".")


def _first_problem(texts: Sequence[str], cells: Sequence[str], names: Sequence[str] | None) -> str:
    """The column of the first cell of a row that is not a finite number, and what to do."""
    at = next(i for i, cell in enumerate(cells) if not _is_number(cell))
    name = f" ({names[at]})" if names and names[at] else ""
    if texts[at].lower() in MISSING:
        return f"column {at + 1}{name} is missing ({texts[at]!r}): fill it, or remove the row"
    need = "a finite number" + (", with no comma between thousands" if "," in texts[at] else "")
    return f"column {at + 1}{name} is {texts[at]!r}: must be {need}"


def _is_header(texts: Sequence[str], cells: Sequence[str], line: str, about: str) -> bool:
    """Whether the first row is a header; raises `ValueError` if only a guess could tell."""
    names = [text.lower() for text in texts]
    numbers = [text for text, cell in zip(texts, cells, strict=True) if _is_number(cell)]
    others = [text for text in texts if text not in numbers and text.lower() not in MISSING]
    if LABEL in names or (others and not numbers):
        return True
    if names[0] in NAMELESS and _are_counted(cells[1:]):
        return True
    if others:
        raise ValueError(
            f"{line} has the text {others[0]!r} and the number {numbers[0]!r}: name every column, "
            f"or none {about}"
        )
    if _are_counted(cells) and (len(cells) > 3 or cells[0] == "0"):
        raise ValueError(
            f"{line} counts {cells[0]}, {cells[1]}, ...: a header or an example? Name the columns "
            f"(t0, t1, ...), or put a line of names above it {about}"
        )
    return False


def _columns(table: np.ndarray, names: list[str] | None) -> dict[str, np.ndarray]:
    if names is None:
        return {"x": table}
    if names[0] in NAMELESS:
        index = table[:, 0]
        if len(np.unique(index)) < len(index) or not (index == np.rint(index)).all():
            raise ValueError("column 1 has no name and is not an index: name it")
        names, table = names[1:], table[:, 1:]
    if "" in names:
        raise ValueError(f"a column beside {', '.join(filter(None, names))} has no name: name it")
    if LABEL not in names:
        return {"x": table}
    if names.count(LABEL) > 1:
        raise ValueError(f"{names.count(LABEL)} columns are called {LABEL!r}: rename all but one")
    at = names.index(LABEL)
    label = table[:, at]
    if not (label == np.rint(label)).all() or (np.abs(label) > np.iinfo(np.int32).max).any():
        raise ValueError(f"the column {LABEL!r} must contain integers")
    return {"x": np.delete(table, at, axis=1), "label": label.astype(np.int32)}


def _are_counted(cells: Sequence[str]) -> bool:
    """Whether these are consecutive integers, as pandas names columns."""
    if len(cells) < 2 or not all(cell.isascii() and cell.isdigit() for cell in cells):
        return False
    first = int(cells[0])
    return [int(cell) for cell in cells] == [*range(first, first + len(cells))]


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
