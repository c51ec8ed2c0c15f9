"""Reading files that may be damaged or hostile, and writing files that are there whole or not."""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

CHUNK = 1 << 20
JSON_LIMIT = 16 * 2**20
"""Bytes; no JSON file that belongs to a run or a data set comes near it."""


def read_exactly(stream: BinaryIO, size: int) -> bytearray:
    """Reads a stream that must hold `size` bytes and then end.

    Memory grows with what the stream really holds and never beyond `size`, whatever `size` a
    header declared. Reading to the end also makes gzip and zip streams verify their checksums.

    Raises:
      ValueError: the stream holds more or fewer bytes, or more than half of this machine's memory
        (as one that unpacks to a thousand times its size may), or `size` is negative.
    """
    if size < 0:
        raise ValueError(f"its header declares {size} bytes of data")
    data, limit = bytearray(), memory_limit()
    while block := stream.read(min(CHUNK, size + 1 - len(data))):
        data += block
        if len(data) > limit:
            raise ValueError(
                f"it holds more than {limit} bytes, half of this machine's memory: save it as "
                ".npy and map that from disk (np.load with mmap_mode='r')"
            )
    if len(data) != size:
        held = "more" if len(data) > size else f"only {len(data)}"
        raise ValueError(f"its header declares {size} bytes of data, it holds {held}")
    return data


def memory_limit() -> int:
    """The bytes that one array read from a file may take: half of this machine's memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def require_regular(path: Path, *, limit: int | None = None, links: bool = False) -> int:
    """The size of a file that is no pipe or device, nor (without `links`) a link, nor larger than
    `limit` bytes.

    Raises:
      ValueError: it is something else, or larger.
      OSError: it is not there.
    """
    status = path.stat() if links else path.lstat()
    if not stat.S_ISREG(status.st_mode):
        raise ValueError(f"{path} is not a regular file")
    if limit is not None and status.st_size > limit:
        raise ValueError(f"{path} holds {status.st_size} bytes, more than the {limit} it may")
    return status.st_size


def read_json(path: Path, *, limit: int = JSON_LIMIT, links: bool = False) -> Any:
    """What a JSON file holds; raises `ValueError` for anything else, and `OSError`."""
    require_regular(path, limit=limit, links=links)
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not JSON: {error}") from None


def finite(data: Any) -> Any:
    """`data` for JSON, which has no NaN and no infinities: they are null there."""
    if isinstance(data, Mapping):
        return {name: finite(value) for name, value in data.items()}
    if isinstance(data, list | tuple):
        return [finite(value) for value in data]
    return None if isinstance(data, float) and not math.isfinite(data) else data


def write_whole(path: Path, content: str) -> None:
    """Writes a text file in one go: whoever looks sees the old content or the new, never a part.

    Links are replaced, not followed. Raises `OSError` naming the file, what it needs and what is
    free.
    """
    temporary, data = path.with_name(path.name + ".tmp"), content.encode()
    try:
        temporary.unlink(missing_ok=True)
        with open(temporary, "xb", buffering=0) as file:
            _write_all(file, data)
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise _cannot_write(path, len(data), error) from None


def append_whole(path: Path, line: str) -> None:
    """Appends to a text file, in one write; what a full disk cuts short is taken back.

    Links are not followed. Raises `OSError` as `write_whole`.
    """
    data = line.encode()
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
    try:
        # Without a buffer, which would try again when it is closed.
        with open(os.open(path, flags, 0o666), "ab", buffering=0) as file:
            end = file.seek(0, os.SEEK_END)
            try:
                _write_all(file, data)
            except OSError:
                with contextlib.suppress(OSError):
                    file.truncate(end)
                raise
    except OSError as error:
        raise _cannot_write(path, len(data), error) from None


def _write_all(file: Any, data: bytes) -> None:
    while data:
        data = data[file.write(data) :]


def _cannot_write(path: Path, need: int, error: OSError) -> OSError:
    message = f"cannot write {path}: {error.strerror}"
    with contextlib.suppress(OSError):
        message += f"; it needs {need} bytes, {shutil.disk_usage(path.parent).free} are free"
    return OSError(error.errno, message)
