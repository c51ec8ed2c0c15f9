"""A cache of decoded splits on disk, so that a second load need not decode.

An entry is a folder of .npy files with their checksums. Fetching an entry maps the files into
memory and reads them once to compare the checksums, so a damaged entry is not used. An entry is
written under another name and then renamed, so it is never incomplete. The cache can be deleted at
any time.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import tempfile
import tokenize
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy

from ae_jax.files import read_json, user_path

log = logging.getLogger(__name__)
Arrays = dict[str, np.ndarray]
CHECKSUMS = "checksums.json"


def cache_dir() -> Path:
    """The folder of the cache: $AE_JAX_CACHE, else $XDG_CACHE_HOME/ae_jax, else ~/.cache/ae_jax."""
    if folder := os.environ.get("AE_JAX_CACHE"):
        return user_path(folder)
    return user_path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "ae_jax"


def fetch(entry: str) -> Arrays | None:
    """The arrays of an entry, read-only and on disk; None if it is missing or damaged."""
    folder = cache_dir() / entry
    try:
        expected = read_json(folder / CHECKSUMS)
        files = sorted(folder.glob("*.npy"))
        arrays = {path.stem: np.asarray(npy.open_memmap(path, mode="r")) for path in files}
        checksums = {name: zlib.crc32(array.data) for name, array in arrays.items()}
    except (OSError, ValueError, EOFError, SyntaxError, tokenize.TokenError):
        return None
    return arrays if checksums == expected else None


def store(entry: str, count: int, chunks: Callable[[], Iterator[Arrays]]) -> Arrays:
    """Create an entry and return its arrays like `fetch`.

    Args:
      entry: name of the entry.
      count: rows in each array.
      chunks: returns an iterator over parts of the arrays, from the first row on. It is called a
        second time if the cache cannot be written; the arrays are then in memory only.
    """
    folder = cache_dir()
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(".tmp", f"{entry}-", folder) as temporary:
            _write(Path(temporary, entry), count, chunks())
            if fetch(entry) is None:  # no other process has created it meanwhile
                shutil.rmtree(folder / entry, ignore_errors=True)
                os.replace(Path(temporary, entry), folder / entry)
    if (arrays := fetch(entry)) is not None:
        return arrays
    log.warning(
        "%s: cannot write to the cache %s: the data set is decoded into memory", entry, folder
    )
    return _in_memory(count, chunks())


def _in_memory(count: int, chunks: Iterator[Arrays]) -> Arrays:
    arrays: Arrays = {}
    start = 0
    for chunk in chunks:
        for name, rows in chunk.items():
            array = arrays.setdefault(name, np.empty((count, *rows.shape[1:]), rows.dtype))
            array[start : start + len(rows)] = rows
        start += len(rows)
    return arrays


def _write(folder: Path, count: int, chunks: Iterator[Arrays]) -> None:
    folder.mkdir()
    files: dict[str, BinaryIO] = {}
    checksums: dict[str, int] = {}
    with contextlib.ExitStack() as stack:
        # Not memory-mapped, because a full disk would then end the process by a signal.
        for chunk in chunks:
            for name, part in chunk.items():
                rows = np.ascontiguousarray(part)
                if name not in files:
                    files[name] = stack.enter_context(open(folder / f"{name}.npy", "wb"))
                    header: dict[str, Any] = npy.header_data_from_array_1_0(rows)
                    header["shape"] = (count, *rows.shape[1:])
                    npy.write_array_header_1_0(files[name], header)
                files[name].write(rows.data)
                checksums[name] = zlib.crc32(rows.data, checksums.get(name, 0))
    (folder / CHECKSUMS).write_text(json.dumps(checksums))
