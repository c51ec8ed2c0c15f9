"""Read files that may be damaged or hostile, and write files completely or not at all."""

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

from ae_jax.devices.host import memory_bytes

CHUNK = 1 << 20
JSON_LIMIT = 16 * 2**20
"""Maximum size of a JSON file in bytes; those of a run or a data set are far smaller."""


def user_path(path: str | os.PathLike[str]) -> Path:
    """`path` with the home directory in place of ``~``.

    Raises `ValueError` if there is no such directory, as for a user without a name.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise ValueError(
            f"{path}: its home directory is unknown: set HOME, or give the path without ~"
        ) from None


def writable_folder(path: str | Path) -> Path:
    """The folder `path`, made if it is missing: for the results of work that begins now.

    Raises `ValueError` if it cannot be made or written.
    """
    path = user_path(path)
    reason: str | None = "no permission"
    try:
        path.mkdir(parents=True, exist_ok=True)
        if os.access(path, os.W_OK):
            return path
    except OSError as error:
        reason = "it is not a folder" if path.exists() else error.strerror
    raise ValueError(f"cannot write to {path}: {reason}: choose another place")


def writable_file(path: str | Path) -> Path:
    """The file `path`, in a `writable_folder`. Raises `ValueError` also if it is a folder."""
    path = user_path(path)
    writable_folder(path.parent)
    if path.is_dir():
        raise ValueError(f"cannot write to {path}: it is a folder: choose a file")
    return path


def read_exactly(stream: BinaryIO, size: int) -> bytearray:
    """Return the content of a stream that must contain exactly `size` bytes.

    The memory used depends on the bytes in the stream, not on the `size` that a header declares.
    Reading to the end also makes gzip and zip streams verify their checksums.

    Raises:
      ValueError: the stream contains more or fewer bytes, or more than half of this machine's
        memory (even if the compressed file is small), or `size` is negative.
    """
    if size < 0:
        raise ValueError(f"its header declares {size} bytes of data")
    data, limit = bytearray(), memory_limit()
    while block := stream.read(min(CHUNK, size + 1 - len(data))):
        data += block
        if len(data) > limit:
            raise ValueError(
                f"it holds more than {limit} bytes, half of this machine's memory: save it as .npy "
                "and map that from disk (np.load with mmap_mode='r')"
            )
    if len(data) != size:
        actual = "more" if len(data) > size else f"only {len(data)}"
        raise ValueError(f"its header declares {size} bytes of data, it holds {actual}")
    return data


def memory_limit() -> int:
    """Return the maximum size in bytes of one array from a file: half of this machine's memory."""
    return memory_bytes() // 2


def require_regular(path: Path, *, limit: int | None = None, links: bool = False) -> int:
    """Return the size in bytes of a regular file. Links are refused unless `links` is True.

    Raises:
      ValueError: the path is a link, a pipe or a device, or the file is larger than `limit` bytes.
      OSError: the file does not exist.
    """
    status = path.stat() if links else path.lstat()
    if not stat.S_ISREG(status.st_mode):
        raise ValueError(f"{path} is not a regular file")
    if limit is not None and status.st_size > limit:
        raise ValueError(f"{path} has {status.st_size} bytes, more than the limit of {limit}")
    return status.st_size


def read_json(path: Path, *, limit: int = JSON_LIMIT, links: bool = False) -> Any:
    """Return the content of a JSON file.

    Raises `ValueError` if the file is not JSON or larger than `limit` bytes, and `OSError` if it
    cannot be read.
    """
    require_regular(path, limit=limit, links=links)
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not JSON: {error}") from None


def finite(data: Any) -> Any:
    """Return `data` with None in place of NaN and infinities, which JSON cannot represent."""
    if isinstance(data, Mapping):
        return {name: finite(value) for name, value in data.items()}
    if isinstance(data, list | tuple):
        return [finite(value) for value in data]
    return None if isinstance(data, float) and not math.isfinite(data) else data


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file atomically: a reader sees the old content or the new, never a part of it.

    A link is replaced, not followed. Raises `OSError` with the file, the bytes needed and the bytes
    free.
    """
    temporary = path.with_name(path.name + ".tmp")
    data = content.encode() if isinstance(content, str) else content
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
    """Append a line to a text file in one write, and remove it again if the write is incomplete.

    Links are not followed. Raises `OSError` like `write_whole`.
    """
    data = line.encode()
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
    try:
        # Unbuffered, because a buffered file would write again when it is closed.
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
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) :]


def _cannot_write(path: Path, need: int, error: OSError) -> OSError:
    message = f"cannot write {path}: {error.strerror}"
    with contextlib.suppress(OSError):
        message += f"; it needs {need} bytes, {shutil.disk_usage(path.parent).free} are free"
    return OSError(error.errno, message)
