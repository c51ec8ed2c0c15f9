"""Trackio: a database on this machine (TRACKIO_DIR), shown by ``trackio show``."""

from collections.abc import Mapping
from typing import Any

from ae_jax.trackers.tracker import PROJECT, TrackedRun, needs_extra


class Trackio:
    """A run of the project "ae_jax"."""

    name = "trackio"

    def __init__(self) -> None:
        with needs_extra(self.name):
            import trackio
        self._trackio = trackio
        self._run: Any = None

    def start(self, run: TrackedRun) -> None:
        name = f"{run.name}-{run.id}"  # the name is the only identifier of a run
        self._run = self._trackio.init(PROJECT, name, config=run.config, resume="allow")

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        self._run.log(dict(numbers), step=step)

    def close(self, *, failed: bool) -> None:
        self._run.finish()
