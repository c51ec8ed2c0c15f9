"""One process trains in a run directory: a lock that the system releases when its process ends.

RUN/lock   names the process that trains; deleted when it ends, and without effect if it was killed
"""

import contextlib
import fcntl
import logging
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from ae_jax.devices.mesh import is_first_process, refuse_together
from ae_jax.files import user_path

log = logging.getLogger(__name__)
LOCK = "lock"


@contextlib.contextmanager
def claimed(path: str | Path, *, new: bool) -> Iterator[Path]:
    """A context in which no other process may claim the run directory `path`, its value.

    A `new` directory is made, and deleted at the end if it is still empty. Commands that only read
    a run need no claim. Of several processes that train one run, the first one holds it.

    Raises `ValueError`, in each of them, if another process has claimed it, if it cannot be
    written, or if a `new` one exists and is not empty.
    """
    path, error = user_path(path), ""
    with contextlib.ExitStack() as stack:
        if is_first_process():
            try:
                if new:
                    stack.enter_context(made(path))
                stack.enter_context(_locked(path / LOCK))
            except ValueError as refused:
                error = str(refused)
            except OSError as refused:
                error = f"cannot write run directory {path}: {refused.strerror}"
        refuse_together(error)
        yield path


def make_empty(path: Path, *, exist_ok: bool = True) -> None:
    """Make the directory of a new run.

    Raises `ValueError` if it cannot be made, or exists with other files than those of a run that
    was interrupted before its configuration was written.
    """
    try:
        path.mkdir(parents=True, exist_ok=exist_ok)
    except FileExistsError:
        if not exist_ok:
            raise
        raise ValueError(f"run directory {path} is not a folder: choose another") from None
    except OSError as error:
        raise ValueError(f"cannot write run directory {path}: {error.strerror}") from None
    unfinished = {"figures", "environment.json", "metrics.jsonl", LOCK}
    unfinished |= {"environment.json.tmp", "config.json.tmp"}
    if {entry.name for entry in path.iterdir()} - unfinished:
        raise ValueError(
            f"run directory {path} exists and is not empty: continue it with resume=True, or "
            "choose another"
        )


@contextlib.contextmanager
def made(path: Path, *, alone: bool = False) -> Iterator[None]:
    """A context with the directory of a new run (see `make_empty`).

    At its end, the folders that it made are deleted if they are empty. Raises
    `FileExistsError` if the directory exists and must be made here `alone`.
    """
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    make_empty(path, exist_ok=not alone)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # it is a run now
            for folder in missing:
                folder.rmdir()


@contextlib.contextmanager
def _locked(file: Path) -> Iterator[None]:
    lock = _lock(file)
    try:
        os.ftruncate(lock, 0)
        os.write(lock, f"process {os.getpid()} on {socket.gethostname()}".encode())
        yield
    finally:
        file.unlink(missing_ok=True)
        os.close(lock)


def _lock(file: Path) -> int:
    """The descriptor of the locked file; raises `ValueError` if another one has locked it."""
    while True:
        lock = os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(lock, 300).decode(errors="replace").strip() or "another process"
            os.close(lock)
            raise ValueError(
                f"run directory {file.parent} is in use: {holder} trains it: wait until that ends, "
                "or end it"
            ) from None
        except OSError as error:  # some network file systems
            log.warning(
                "%s cannot be locked (%s): let no other process train there",
                file.parent,
                error.strerror,
            )
        with contextlib.suppress(FileNotFoundError):  # deleted by the process that had it before
            if os.path.samestat(os.fstat(lock), os.stat(file)):
                return lock
        os.close(lock)
