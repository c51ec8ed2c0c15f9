"""What a tracker is: told of a run's start, of each of its rows, and of its end."""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, Protocol

PROJECT = "ae_jax"
"""What runs are filed under, where a tracker's own settings say nothing else."""

Setting = str | int | float | bool | None


class TrackedRun(NamedTuple):
    """What a tracker is told at the start."""

    id: str
    """The same whenever the run goes on, and no other run's."""
    name: str
    folder: Path
    """The run directory."""
    config: dict[str, Setting]
    """Its ``config.json``, flat: ``{"model.latent_dim": 2, ...}``."""


class Tracker(Protocol):
    """A sink of rows. It may raise anything (see `Tracking`)."""

    name: str

    def start(self, run: TrackedRun) -> None:
        """Begin `run`, or go on with it where the tracker knows its id."""
        ...

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        """Take ``{"test/loss": 1.5, ...}``, some of them perhaps NaN, at `step` of the x axis."""
        ...

    def close(self, *, failed: bool) -> None:
        """Write what is left. `failed`: the training ended by an exception."""
        ...


@contextlib.contextmanager
def needs_extra(name: str) -> Iterator[None]:
    """Around a tracker's imports: a missing package is a `ValueError` of one line."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise ValueError(
            f"tracker {name!r} needs {error.name}, which is not installed: "
            f"pip install 'ae_jax[{name}]'"
        ) from None
