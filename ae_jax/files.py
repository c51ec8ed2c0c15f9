"""Reading files that may be damaged or hostile, and writing files that are there whole or not."""

from __future__ import annotations

import contextlib
import json
import math
import os
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
                f"it holds more than {limit} bytes, half of this machine's memory: map it from "
                "disk instead (np.load(path, mmap_mode='r'))"
            )
    if len(data) != size:
        held = "more" if len(data) > size else f"only {len(data)}"
        raise ValueError(f"its header declares {size} bytes of data, it holds {held}")
    return data


def memory_limit() -> int:
    """The bytes that one array read from a file may take: half of this machine's memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def require_regular(path: Path, *, limit: int | None = None) -> int:
    """The size of a file that is no link, pipe or device, nor larger than `limit` bytes.

    Raises:
      ValueError: it is something else, or larger.
      OSError: it is not there.
    """
    status = path.lstat()
    if not stat.S_ISREG(status.st_mode):
        raise ValueError(f"{path} is not a regular file")
    if limit is not None and status.st_size > limit:
        raise ValueError(f"{path} holds {status.st_size} bytes, more than the {limit} it may")
    return status.st_size


def read_json(path: Path, *, limit: int = JSON_LIMIT) -> Any:
    """What a JSON file holds; raises `ValueError` for anything else, and `OSError`."""
    require_regular(path, limit=limit)
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
    """Writes a text file in one go: whoever looks sees the old content or the new, never a part."""
    temporary = path.with_name(path.name + ".tmp")
    try:
        with open(temporary, "w") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def append_whole(path: Path, line: str) -> None:
    """Appends to a text file, in one write; what a full disk cuts short is taken back."""
    content = line.encode()
    with open(path, "ab", buffering=0) as file:  # a buffer would try again when it is closed
        end = file.seek(0, os.SEEK_END)
        try:
            while content:
                content = content[file.write(content) :]
        except OSError:
            with contextlib.suppress(OSError):
                file.truncate(end)
            raise
