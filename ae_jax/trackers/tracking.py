"""Send the rows of a run to its trackers: each row once, even if the run is resumed.

RUN/trackers.json   {"id": id of the run, "taken": {tracker: {split: last step it recorded}}}
"""

import json
import logging
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ae_jax.files import read_json, write_whole
from ae_jax.storage.runs import Run
from ae_jax.trackers.tracker import Setting, TrackedRun, Tracker

log = logging.getLogger(__name__)
FILE = "trackers.json"


class Tracking:
    """A `fit` callback that sends rows to trackers, to be used inside `running`.

    A resumed run computes some rows a second time and may have new trackers. So RUN/trackers.json
    keeps the last step that each tracker has recorded. At the start a tracker receives the later
    rows of the history, and then the new rows. Rows of earlier steps are never sent again, even if
    settings have changed. Rows that a tracker had not yet written when its process was killed are
    missing there.

    Raises `ValueError` if two trackers have the same name.
    """

    def __init__(self, trackers: Sequence[Tracker]) -> None:
        self.trackers = list(trackers)
        names = [tracker.name for tracker in self.trackers]
        if len(set(names)) < len(names):
            raise ValueError(f"trackers={names}: each at most once")
        self._path = Path()
        self._id = ""
        self._taken: dict[str, dict[str, int]] = {}

    @contextmanager
    def running(self, run: Run | None, history: Iterable[Mapping[str, Any]]) -> Iterator[None]:
        """Start the trackers, and close them at the end, also after an exception.

        Raises `ValueError` if a tracker does not start; the trackers before it are closed. A
        tracker that fails later is dropped with a warning. Its rows are in ``metrics.jsonl``, and a
        resumed run sends them.
        """
        started, failed = self.trackers, True
        self.trackers = []
        try:
            if run is not None and started:
                self._read(run.path)
                for tracker in started:
                    self._start(tracker, run)
                for row in history:
                    self(None, row)
            yield
            failed = False
        finally:
            for tracker in self.trackers:
                _close(tracker, failed=failed)

    def __call__(self, state: object, row: Mapping[str, Any]) -> None:
        step, split = row["step"], row["split"]
        for tracker in list(self.trackers):
            taken = self._taken.setdefault(tracker.name, {})
            if step <= taken.get(split, -1):
                continue
            try:
                tracker.log(step, numbers(row))
            except Exception as error:
                message = (
                    "tracker %s: is dropped at step %d (its rows are in metrics.jsonl, and a "
                    "resumed run sends them): %s"
                )
                log.warning(message, tracker.name, step, _line(error))
                self.trackers.remove(tracker)
                _close(tracker, failed=True)
                continue
            taken[split] = step
            self._write()

    def _start(self, tracker: Tracker, run: Run) -> None:
        name = run.path.absolute().name
        try:
            tracker.start(TrackedRun(self._id, name, run.path, flat(run.config)))
        except Exception as error:  # services and their clients raise any exception
            raise ValueError(
                f"tracker {tracker.name!r} did not start: {_line(error)} (the run directory "
                f"exists: resume {run.path})"
            ) from error
        self.trackers.append(tracker)

    def _read(self, folder: Path) -> None:
        self._path = folder / FILE
        if not self._path.exists():
            self._id, self._taken = secrets.token_hex(4), {}
            self._write()
            return
        try:
            content = read_json(self._path)
            self._id = str(content["id"])
            self._taken = {
                str(name): {str(split): int(step) for split, step in steps.items()}
                for name, steps in content["taken"].items()
            }
        except (ValueError, KeyError, TypeError, AttributeError):
            raise ValueError(
                f"{self._path} is damaged: delete it (trackers then start a new run)"
            ) from None

    def _write(self) -> None:
        write_whole(self._path, json.dumps({"id": self._id, "taken": self._taken}) + "\n")


def numbers(row: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a row without its step: ``{"test/loss": 1.5, "test/epoch": 2.0, ...}``."""
    return {
        f"{row['split']}/{name}": float(value)
        for name, value in row.items()
        if name != "step" and isinstance(value, int | float)
    }


def flat(config: Any, where: str = "") -> dict[str, Setting]:
    """A JSON object in one level: ``{"a": {"b": 1}, "c": [2, 3]} -> {"a.b": 1, "c": "[2, 3]"}``."""
    if isinstance(config, Mapping):
        settings: dict[str, Setting] = {}
        for name, value in config.items():
            settings |= flat(value, f"{where}.{name}" if where else str(name))
        return settings
    simple = config is None or isinstance(config, int | float | str)
    return {where: config if simple else str(config)}


def _close(tracker: Tracker, *, failed: bool) -> None:
    try:
        tracker.close(failed=failed)
    except Exception as error:
        log.warning("tracker %s: did not close: %s", tracker.name, _line(error))


def _line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else repr(error)
