"""Folders of shards: .npy or .safetensors files that hold the rows of columns, one after another.

    FOLDER/x-00000.npy, x-00001.npy, ...       one column a file: "x"; 00000.npy is "x" too
    FOLDER/shard-00000.safetensors, ...        all columns in each file: its keys
    FOLDER/shards.json                         what `ae_jax.data.activations` wrote, if it did

The files are in the order of their names, with numbers compared as numbers. They are mapped into
memory: opening a folder reads their headers only.
"""

from __future__ import annotations

import errno
import hashlib
import itertools
import json
import math
import mmap
import re
import sys
import tokenize
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from numpy.lib import format as npy
from safetensors import SafetensorError, safe_open

from ae_jax.files import CHUNK, read_json, require_regular

MANIFEST = "shards.json"
FORMAT = 1
_ENTRY = {"rows": int, "bytes": int, "sha256": str}
_NPY = re.compile(r"((?P<column>[A-Za-z_]\w*)-)?(?P<number>\d+)")
_HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
_DAMAGED = (ValueError, EOFError, SyntaxError, KeyError, TypeError, tokenize.TokenError)
_TYPES = {"BF16": jnp.bfloat16, "BOOL": np.bool_, "F16": np.float16, "F32": np.float32}
_TYPES |= {"F64": np.float64, "U8": np.uint8, "U16": np.uint16, "U32": np.uint32, "U64": np.uint64}
_TYPES |= {"I8": np.int8, "I16": np.int16, "I32": np.int32, "I64": np.int64}
# Tells the system to read pages ahead; systems without it read them when they are touched.
_WILL_NEED: int | None = getattr(mmap, "MADV_WILLNEED", None)


@dataclass(frozen=True)
class Mapped:
    """An array [n, ...event] of a file that is mapped into memory."""

    path: Path
    array: np.ndarray
    memory: mmap.mmap
    offset: int
    """Of the first value, in bytes."""

    def read(self, rows: np.ndarray) -> np.ndarray:
        """These rows, which are in ascending order."""
        if (np.diff(rows) == 1).all():
            return self.array[int(rows[0]) : int(rows[-1]) + 1]
        scattered = rows[-1] - rows[0] > 4 * len(rows)
        if scattered and _WILL_NEED is not None and self.array.flags.c_contiguous:
            # Without this the disk reads one row at a time, and much around each that nobody needs.
            width = self.array[:1].nbytes
            pages = np.unique((self.offset + rows * width) // mmap.PAGESIZE * mmap.PAGESIZE)
            for page in pages.tolist():
                self.memory.madvise(_WILL_NEED, page, width + mmap.PAGESIZE)
        return self.array[rows]


def opened(folder: Path) -> dict[str, list[Mapped]]:
    """The parts of each column of a folder, in their order.

    Raises:
      FileNotFoundError: there is no folder, or no shard in it.
      ValueError: one line, for a damaged file, or files that differ in their columns, dtypes or
        event shapes, or from the manifest, or two of one column with one number.
      OSError: there are more shards than files that this process may open.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is not a folder: give the folder of the shards")
    files = shard_files(folder)
    manifest = read_manifest(folder) if (folder / MANIFEST).exists() else None
    if manifest is not None and len(manifest["shards"]) != manifest["count"]:
        raise ValueError(
            f"{folder} is incomplete, with {len(manifest['shards'])} of {manifest['count']} "
            "shards: write it to its end with the same call"
        )
    if not files:
        raise FileNotFoundError(
            f"{folder} holds no shards: needs files such as x-00000.npy or shard-00000.safetensors"
        )
    if len({path.suffix for path in files}) > 1:
        other = next(path for path in files if path.suffix != files[0].suffix)
        raise ValueError(
            f"{folder} holds {files[0].name} and {other.name}: use one kind of file in a folder"
        )
    found: dict[str, list[Mapped]] = {}
    previous: tuple[Path, list[str]] | None = None
    for path in files:
        try:
            arrays = open_shard(path)
        except OSError as error:
            if error.errno != errno.EMFILE:
                raise
            raise OSError(
                f"{folder} has {len(files)} shards, more files than this process may open: raise "
                "the limit with 'ulimit -n', or use fewer, larger shards"
            ) from None
        if path.suffix != ".npy":
            names = sorted(arrays)
            if previous is not None and previous[1] != names:
                raise ValueError(
                    f"{folder}: {previous[0].name} has the columns {', '.join(previous[1])} and "
                    f"{path.name} has {', '.join(names) or 'none'}: give all shards the same"
                )
            previous = path, names
        for name, part in arrays.items():
            parts = found.setdefault(name, [])
            if parts and _kind(parts[0]) != _kind(part):
                raise ValueError(
                    f"{folder}: {name} is {_kind(parts[0])} in {parts[0].path.name} and "
                    f"{_kind(part)} in {path.name}: give all shards one dtype and width"
                )
            parts.append(part)
    if files[0].suffix == ".npy":
        found = {name: _by_number(parts) for name, parts in found.items()}
    if manifest is not None:
        _require_as_written(folder, manifest, found)
    return found


def open_shard(path: Path) -> dict[str, Mapped]:
    """The columns of one file. Raises `ValueError`, one line, if it is damaged."""
    return _npy(path) if path.suffix == ".npy" else _safetensors(path)


def file_number(path: Path) -> int:
    """The number in the name of a .npy file that is a shard: 7 of "x-00007.npy"."""
    named = _NPY.fullmatch(path.stem)
    assert named is not None
    return int(named["number"])


def _by_number(parts: list[Mapped]) -> list[Mapped]:
    """The files of a column in the order of their numbers, which differ."""
    ordered = sorted(parts, key=lambda part: file_number(part.path))
    for one, two in itertools.pairwise(ordered):
        if file_number(one.path) == file_number(two.path):
            raise ValueError(
                f"{one.path} and {two.path.name} are of one column and have the same number: "
                "remove or rename one"
            )
    return ordered


def shard_files(folder: Path) -> list[Path]:
    """The .npy and .safetensors files of a folder, x-2 before x-10."""

    def order(path: Path) -> list[tuple[int, str]]:
        return [(int(p) if p.isdecimal() else -1, p) for p in re.split(r"(\d+)", path.name)]

    files = [p for p in folder.iterdir() if p.suffix in (".npy", ".safetensors")]
    return sorted((p for p in files if not p.name.startswith(".")), key=order)


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a folder: ``{"format", "columns", "count", "shards", "settings"}``.

    "shards" is ``{file: {"rows", "bytes", "sha256"}}`` of those that are written, and "count" is
    how many there will be. Raises `ValueError` if it is damaged or of another format.
    """
    manifest = read_json(folder / MANIFEST, links=True)
    version = manifest.get("format") if isinstance(manifest, dict) else None
    if version != FORMAT:
        raise ValueError(f"{folder / MANIFEST} has format {version!r}, and {FORMAT} is read here")
    kinds = {"format": int, "columns": dict, "count": int, "shards": dict, "settings": dict}
    whole = {name: type(value) for name, value in manifest.items()} == kinds and all(
        isinstance(entry, dict) and {k: type(v) for k, v in entry.items()} == _ENTRY
        for entry in manifest["shards"].values()
    )
    if not whole:
        raise ValueError(f"{folder / MANIFEST} is damaged: write the shards again")
    for name in manifest["shards"]:
        if name in ("", ".", "..") or set(name) & set("/\\\0"):
            raise ValueError(
                f"{folder / MANIFEST} names {name!r}, which is no file of this folder: "
                "write the shards again"
            )
    return dict(manifest)


def verify_shards(folder: Path) -> None:
    """Compare the SHA-256 of every shard with the manifest, which reads all bytes.

    Raises `ValueError` with the first file that has changed or is not a regular file, `OSError` if
    one is missing or there is no manifest.
    """
    for name, entry in read_manifest(folder)["shards"].items():
        if digest(folder / name) != entry["sha256"]:
            raise ValueError(f"{folder / name} has changed since it was written")


def digest(path: Path) -> str:
    """Hexadecimal SHA-256 of a regular file, or of one that is linked to."""
    require_regular(path, links=True)
    found = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(CHUNK):
            found.update(block)
    return found.hexdigest()


def _require_as_written(
    folder: Path, manifest: Mapping[str, Any], found: Mapping[str, list[Mapped]]
) -> None:
    shards = manifest["shards"]
    names = {path.name for path in shard_files(folder)}
    for name in sorted(names ^ shards.keys()):
        problem = "is missing" if name in shards else f"is not in {MANIFEST}"
        raise ValueError(f"{folder / name} {problem}: restore the folder, or write it again")
    kinds = {name: _kind(parts[0]) for name, parts in found.items()}
    if kinds != manifest["columns"]:
        raise ValueError(f"{folder} holds {kinds}, but {manifest['columns']} were written")
    for parts in found.values():
        for part in parts:
            rows = shards[part.path.name]["rows"]
            if len(part.array) != rows:
                raise ValueError(f"{part.path} has {len(part.array)} rows, but {rows} were written")


def _kind(part: Mapped) -> str:
    """The dtype and the event shape: "float16[N, 768]"."""
    return f"{part.array.dtype}[{', '.join(map(str, ('N', *part.array.shape[1:])))}]"


def _npy(path: Path) -> dict[str, Mapped]:
    named = _NPY.fullmatch(path.stem)
    if named is None:
        raise ValueError(
            f"{path}: its name is not that of a shard: use COLUMN-NUMBER.npy, such as x-00000.npy"
        )
    try:
        size = require_regular(path, links=True)
        with path.open("rb") as file:
            version = npy.read_magic(file)
            if version not in _HEADERS:
                raise ValueError(f"it is of version {version}, not (1, 0) or (2, 0)")
            shape, fortran, dtype = _HEADERS[version](file)
            offset, order = file.tell(), "F" if fortran else "C"
            part = _mapped(path, _memory(file), offset, size, shape, dtype, order)
            if part.offset + part.array.nbytes != size:
                raise ValueError(f"its header declares {part.array.nbytes} bytes of data")
    except _DAMAGED as error:
        raise ValueError(f"{path} is not a complete .npy file: {_line(error)}") from None
    return {named["column"] or "x": part}


def _safetensors(path: Path) -> dict[str, Mapped]:
    try:
        size = require_regular(path, links=True)
        with safe_open(path, framework="numpy"):  # compares its header with its size
            pass
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length))
            memory, found = _memory(file), {}
            for name, entry in header.items():
                if name == "__metadata__":
                    continue
                if entry["dtype"] not in _TYPES:
                    raise ValueError(f"{name} has the type {entry['dtype']}, which is not read")
                offset, dtype = 8 + length + entry["data_offsets"][0], _TYPES[entry["dtype"]]
                shape = tuple(entry["shape"])
                found[name] = _mapped(path, memory, offset, size, shape, np.dtype(dtype), "C")
    except (SafetensorError, *_DAMAGED) as error:
        raise ValueError(f"{path} is not a complete .safetensors file: {_line(error)}") from None
    counts = {name: len(part.array) for name, part in found.items()}
    if len({*counts.values()}) > 1:
        raise ValueError(f"{path}: its columns have different lengths, {counts}: cut them to one")
    return found


def _memory(file: Any) -> mmap.mmap:
    """A file as memory. It keeps a file descriptor only where Python gives no choice."""
    options: dict[str, Any] = {"trackfd": False} if sys.version_info >= (3, 13) else {}
    return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ, **options)


def _mapped(
    path: Path,
    memory: mmap.mmap,
    offset: int,
    size: int,
    shape: tuple[int, ...],
    dtype: np.dtype,
    order: Any,
) -> Mapped:
    if dtype.hasobject:
        raise ValueError("it contains pickled objects, which are never read")
    if dtype.kind not in "biuf" and dtype != jnp.bfloat16:
        hint = ": save bfloat16 as .safetensors" if dtype.kind == "V" else ""
        raise ValueError(f"it has dtype {dtype}, which is no number{hint}")
    if not shape or min(shape) < 0 or 0 in shape[1:]:
        raise ValueError(f"it has shape {list(shape)}: needs rows [N, ...]")
    if offset + math.prod(shape) * dtype.itemsize > size:
        need = math.prod(shape) * dtype.itemsize
        raise ValueError(f"its header declares {need} bytes of data, it holds {size - offset}")
    array: np.ndarray = np.ndarray(shape, dtype, memory, offset, order=order)
    return Mapped(path, array, memory, offset)


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())
