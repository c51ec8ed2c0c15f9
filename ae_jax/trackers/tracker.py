"""The protocol of a tracker: it receives the start of a run, each row, and the end."""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, Protocol

PROJECT = "ae_jax"
"""The project of all runs, unless a tracker's own settings name another."""

Setting = str | int | float | bool | None


class TrackedRun(NamedTuple):
    """The description of a run that a tracker receives at the start."""

    id: str
    """Unique, and the same whenever the run is resumed."""
    name: str
    folder: Path
    """The run directory."""
    config: dict[str, Setting]
    """The ``config.json`` of the run in one level: ``{"model.latent_dim": 2, ...}``."""


class Tracker(Protocol):
    """A sink of rows; its methods may raise any exception (see `Tracking`)."""

    name: str

    def start(self, run: TrackedRun) -> None:
        """Start `run`, or continue it if the tracker knows its id."""
        ...

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        """Record ``{"test/loss": 1.5, ...}`` at `step`; values may be NaN."""
        ...

    def close(self, *, failed: bool) -> None:
        """Write all pending data; `failed` if the training ended by an exception."""
        ...


@contextlib.contextmanager
def needs_extra(name: str) -> Iterator[None]:
    """Turn a missing package into a `ValueError` of one line; used around a tracker's imports."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise ValueError(
            f"tracker {name!r} needs {error.name}, which is not installed: "
            f"pip install 'ae_jax[{name}]'"
        ) from None
