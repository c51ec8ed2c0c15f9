"""Numbers of runs as tables: settings, environment, test metrics, results of an evaluation.

The files of a run directory may hold any JSON. Whatever is not a table of numbers is skipped, and
a line says so.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from xml.etree.ElementTree import Element

from ae_jax.report.markup import Child, shorten, table, tag

ROWS = 500
"""Of one table; further ones are skipped."""
DEPTH = 6
"""Of nested settings; deeper ones are shown as JSON."""
INLINE = 12
"""Numbers of a list that are shown."""
OMITTED = ("step", "epoch", "images_per_second")


def settings(named: Mapping[str, Mapping[str, Any]]) -> Element:
    """Settings of runs as a table, one column a run; those that differ are first and marked."""
    columns = [dict(leaves(each)) for each in named.values()]
    keys = list(dict.fromkeys(key for column in columns for key in column))
    rows = [(key, [column.get(key, "(none)") for column in columns]) for key in keys]
    rows = sorted(rows, key=lambda row: len(set(row[1])) == 1)[:ROWS]
    marked = [number for number, (_, cells) in enumerate(rows) if len(set(cells)) > 1]
    element = table(["setting", *named], [(key, *cells) for key, cells in rows], marked=marked)
    return with_note(element, f"{len(keys) - ROWS} more are skipped." if len(keys) > ROWS else "")


def leaves(data: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Nested settings as pairs of a path and a text: ``("train.epochs", "3")``."""
    if isinstance(data, Mapping) and data and path.count(".") < DEPTH:
        for name, value in data.items():
            yield from leaves(value, f"{path}.{name}" if path else shorten(str(name)))
    else:
        yield path, shorten(data if isinstance(data, str) else json.dumps(data))


def last_test_row(named: Mapping[str, Sequence[Mapping[str, Any]]]) -> Element:
    """The metrics of the last test row of each run, one column a run."""
    rows = {run: _last_test_row(rows) for run, rows in named.items()}
    names = dict.fromkeys(name for row in rows.values() for name in row)
    metrics = [name for name in names if name not in (*OMITTED, "split")]
    shown = [name for name in ("step", "epoch", *metrics) if name in names]
    cells = [[number(row.get(name, "")) or "-" for row in rows.values()] for name in shown]
    lines = zip(map(shorten, shown[:ROWS]), cells[:ROWS], strict=True)
    return table(["metric", *named], [(name, *row) for name, row in lines])


def _last_test_row(rows: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    return next((row for row in reversed(rows) if row.get("split") == "test"), {})


def task_metrics(results: Mapping[str, Any], runs: Sequence[str]) -> list[Element]:
    """The metrics of one task, ``{run: {"metrics": ..., "conventions": ...}}``, as tables.

    The first table is of the single numbers with their meaning. Each nested metric has its own.
    """
    metrics = {run: _mapping(results.get(run, {}).get("metrics")) for run in runs}
    conventions: dict[str, Any] = {}
    for run in runs:
        conventions |= _mapping(results.get(run, {}).get("conventions"))
    names = list(dict.fromkeys(name for each in metrics.values() for name in each))
    rows: list[list[Child]] = []
    nested: list[Element] = []
    bad: list[str] = []
    for name in names[:ROWS]:
        values = {run: each[name] for run, each in metrics.items() if name in each}
        about = conventions.get(name, "")
        about = shorten(about) if isinstance(about, str) else ""
        if any(isinstance(value, Mapping) for value in values.values()):
            nested += _nested(name, values, about, bad)
            continue
        cells = {run: number(value) for run, value in values.items()}
        bad += [f"{name} of {run}" for run, cell in cells.items() if cell is None]
        rows.append([shorten(name), *(cells.get(run) or "-" for run in runs), about])
    single = [table(["metric", *runs, "meaning"], rows)] if rows else []
    if len(names) > ROWS:
        bad.append(f"{len(names) - ROWS} more metrics")
    return [*single, *nested, *_complaint(bad)]


def number(value: Any) -> str | None:
    """A number, or a list of them, as text; None for anything else."""
    if isinstance(value, list):
        texts = [number(item) for item in value[:INLINE] if not isinstance(item, list)]
        if len(texts) < min(len(value), INLINE) or None in texts:
            return None
        return ", ".join(map(str, texts)) + (f", ... ({len(value)})" * (len(value) > INLINE))
    if value is None:
        return "not finite"  # JSON has no NaN
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        if not math.isfinite(value):
            return "not finite"
        return str(value) if isinstance(value, int) and abs(value) < 10**9 else f"{value:.5g}"
    except OverflowError:
        return None


def with_note(element: Element, note: str) -> Element:
    return tag("div", element, tag("p", note, class_="note")) if note else element


def _nested(name: str, values: Mapping[str, Any], about: str, bad: list[str]) -> list[Element]:
    elements = [tag("h4", shorten(name)), *([tag("p", about, class_="note")] if about else [])]
    several = len(values) > 1
    for run, value in values.items():
        if not isinstance(value, Mapping):
            bad.append(f"{name} of {run}")
            continue
        if several:
            elements.append(tag("p", run, class_="run"))
        elements.append(_grid(name, value, bad))
    return elements


def _grid(name: str, value: Mapping[str, Any], bad: list[str]) -> Element:
    """A dict as a table: numbers are one column, dicts of numbers a grid, and lists of one length
    columns; deeper nesting is one row for each path."""
    rows = list(value.items())[:ROWS]
    if len(value) > ROWS:
        bad.append(f"{len(value) - ROWS} rows of {name}")
    lengths = {len(item) if isinstance(item, list) else 0 for _, item in rows}
    if len(rows) > 1 and len(lengths) == 1 and 1 < max(lengths) <= ROWS:
        columns = [_cells(f"{name} {key}", item, bad) for key, item in rows]
        return table([shorten(str(key)) for key, _ in rows], zip(*columns, strict=True))
    if rows and all(isinstance(item, Mapping) for _, item in rows):
        inner = list(dict.fromkeys(key for _, item in rows for key in item))[:ROWS]
        if not any(isinstance(leaf, Mapping) for _, item in rows for leaf in item.values()):
            return table(
                ["", *map(shorten, inner)],
                [
                    (shorten(key), *_cells(f"{name} {key}", [item.get(i, "") for i in inner], bad))
                    for key, item in rows
                ],
            )
    flat = [(path, _cells(f"{name} {path}", [leaf], bad)[0]) for path, leaf in _paths(value)]
    return table(["", "value"], flat[:ROWS])


def _paths(value: Any, path: str = "", depth: int = 0) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and depth < DEPTH:
        for name, item in value.items():
            yield from _paths(item, f"{path} {name}".strip(), depth + 1)
    else:
        yield shorten(path), value


def _cells(name: str, values: Sequence[Any], bad: list[str]) -> list[str]:
    texts = [number(value) if value != "" else "-" for value in values]
    if None in texts:
        bad.append(name)
    return [text or "?" for text in texts]


def _complaint(bad: Sequence[str]) -> list[Element]:
    if not bad:
        return []
    some = ", ".join(shorten(name) for name in bad[:5]) + (" ..." if len(bad) > 5 else "")
    return [tag("p", f"Skipped, not numbers: {some}", class_="note")]


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
