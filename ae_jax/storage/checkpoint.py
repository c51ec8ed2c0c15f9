"""Checkpoints of a run, by step.

    checkpoints/STEP/model/       parameters, averaged parameters, untrained collections
                     training/    optimizer, key, step: what resuming needs besides
                     manifest.json  SHA-256 of every file, and the notes of whoever saved

What is promised, and tested by ``python -m experiments.stress``:

- A checkpoint is there whole or not at all, whenever the process dies: it is written under another
  name, and older ones go only when it has its own. Leftovers go when the run is opened again.
- A checkpoint that was changed since (a flipped bit, a file cut short, missing, swapped) is never
  restored: the newest good one is, and a warning names the other.
- Nothing in it runs code. Names, shapes, dtypes and sizes are compared with the model's before an
  array is read.
- Parameters that are not finite are not saved.

What is not: that files survive a loss of power (they are flushed to the disk, which may not keep
its word) or a network file system that reorders writes; and that a file comes from who you think:
checksums find damage, not forgery.
"""

import contextlib
import errno
import logging
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.experimental.multihost_utils import broadcast_one_to_all

from ae_jax.core import TrainState, by_path
from ae_jax.devices.memory import size
from ae_jax.devices.mesh import is_first_process
from ae_jax.storage.arrays import read_arrays, write_arrays
from ae_jax.storage.manifest import DamagedError, read_manifest, verify, write_manifest

log = logging.getLogger(__name__)
_MODEL = ("params", "ema", "model_state")
_SAVING, _REMOVED = "saving.tmp", "removed.tmp"


class Checkpoints:
    """The checkpoints under `directory`, of which the newest `keep` are kept (None: all).

    Leftovers of saves that were cut short are removed, unless it is opened `read_only`, which
    changes nothing on the disk. Several processes make the same calls; the first one writes.
    """

    def __init__(
        self, directory: str | Path, *, keep: int | None = 2, read_only: bool = False
    ) -> None:
        self.directory, self.keep = Path(directory).absolute(), keep
        if read_only and not self.directory.is_dir():
            raise ValueError(f"no checkpoint in {self.directory}: the run saved none")
        if not read_only and is_first_process():
            self.directory.mkdir(parents=True, exist_ok=True)
            for name in (_SAVING, _REMOVED):
                shutil.rmtree(self.directory / name, ignore_errors=True)

    def steps(self) -> list[int]:
        """Steps that have a checkpoint, oldest first."""
        if not self.directory.is_dir():
            return []
        names = [path.name for path in self.directory.iterdir()]
        steps = [int(n) for n in names if n.isascii() and n.isdecimal() and len(n) < 11]
        return sorted(step for step in steps if step < 2**31)

    def notes(self, step: int) -> dict[str, Any]:
        """What was noted with the checkpoint of `step`."""
        return dict(read_manifest(self.directory / str(step)).get("notes", {}))

    def save(self, state: TrainState, notes: Mapping[str, Any] | None = None) -> None:
        """Write a checkpoint of `state` under its own step; a no-op if there is one already.

        The arrays of `state` are whole on every device; `notes` is JSON to keep beside them.

        Raises:
          ValueError: parameters are not finite, or the optimizer holds a NaN.
          OSError: it cannot be written; the message says what it needs and what is free. Earlier
            checkpoints are as they were.
        """
        step = int(state.step)
        # On the host, so that each array is whole in one file, which the first process writes.
        copies = jax.tree.map(_on_host, _split(state))
        parts = dict(zip(("model", "training"), copies, strict=True))
        _require_finite(step, parts)
        failure: Exception | None = None
        if is_first_process() and step not in self.steps():
            try:
                self._write(step, parts, dict(notes or {}))
            except Exception as error:
                # Whatever it is, of orbax or of the system, nothing half-written stays.
                _remove_while_written(self.directory / _SAVING)
                failure = error
        if _of_first(failure is not None):
            raise self._cannot_save(step, parts, failure) from failure
        for old in self.steps()[: -self.keep] if self.keep else []:
            self._remove(old)

    def discard_after(self, step: int) -> None:
        """Remove the checkpoints of later steps, which a run that resumes at `step` makes anew."""
        for later in self.steps():
            if later > step:
                self._remove(later)

    def restore(self, target: TrainState, step: int | None = None) -> TrainState:
        """The state saved at `step`, with the structure of `target`, which may be abstract.

        By default the newest that is whole; a damaged one is named in a warning. If the target's
        ``opt_state`` is None only the model is read. Raises `ValueError` if there is none, if that
        of `step` is damaged, or naming the first array that differs in shape or dtype.
        """
        steps = self.steps()
        if not steps:
            raise ValueError(f"no checkpoint in {self.directory}: the run saved none")
        if step is None:
            step = _of_first(self._newest_whole(steps) if is_first_process() else 0)
        elif step not in steps:
            raise ValueError(f"no checkpoint of step {step} in {self.directory}; there are {steps}")
        return self._read(target, step)

    def _newest_whole(self, steps: list[int]) -> int:
        for step in reversed(steps):
            try:
                self._verify(step)
                return step
            except DamagedError as error:
                log.warning("the checkpoint of step %d is damaged and left out: %s", step, error)
        return steps[0]  # which is damaged too: reading it will say how

    def _verify(self, step: int) -> Path:
        folder = self.directory / str(step)
        if verify(folder).get("step") != step:
            raise DamagedError(f"{folder} holds the checkpoint of another step")
        return folder

    def _write(self, step: int, parts: Mapping[str, Any], notes: dict[str, Any]) -> None:
        saving = self.directory / _SAVING
        shutil.rmtree(saving, ignore_errors=True)
        saving.mkdir()
        for name, part in parts.items():
            write_arrays(saving / name, part)
        write_manifest(saving, {"step": step, "notes": notes})
        saving.rename(self.directory / str(step))

    def _cannot_save(self, step: int, parts: Mapping[str, Any], error: Exception | None) -> OSError:
        need = sum(leaf.nbytes for leaf in jax.tree.leaves(parts))
        reason = "process 0 says why" if error is None else str(error).partition("\n")[0]
        with contextlib.suppress(OSError):
            free = shutil.disk_usage(self.directory).free
            # Of the system, or in the words of orbax's file driver.
            full = getattr(error, "errno", 0) == errno.ENOSPC or "No space left" in str(error)
            if free < need or full:
                reason = f"it needs about {size(need)}, and {size(free)} are free"
        kept = ", ".join(map(str, self.steps())) or "none"
        return OSError(
            f"cannot save the checkpoint of step {step} in {self.directory}: {reason}; earlier "
            f"ones are intact: {kept}"
        )

    def _remove(self, step: int) -> None:
        if is_first_process():
            # Under another name first: a checkpoint without some of its files would look damaged.
            removed = self.directory / _REMOVED
            shutil.rmtree(removed, ignore_errors=True)
            (self.directory / str(step)).rename(removed)
            shutil.rmtree(removed, ignore_errors=True)

    def _read(self, target: TrainState, step: int) -> TrainState:
        folder = self._verify(step)
        model, training = _split(target)
        wanted = {"model": model} | ({} if target.opt_state is None else {"training": training})
        parts = {}
        for name, part in wanted.items():
            parts[name] = read_arrays(folder / name, part)
        if target.opt_state is None:
            return target.replace(step=jax.numpy.int32(step), **parts["model"])
        if int(parts["training"]["step"]) != step:
            raise DamagedError(f"{folder} holds the state of step {int(parts['training']['step'])}")
        key = jax.random.wrap_key_data(parts["training"]["key"])
        return TrainState(**parts["model"], **(dict(parts["training"]) | {"key": key}))


def _remove_while_written(folder: Path) -> None:
    """Orbax writes several files at once, and when one fails it does not wait for the others: the
    folder is removed until it has stayed away for a tenth of a second, for 4 seconds at most. What
    comes later goes when the run is opened again."""
    away = 0
    for _ in range(200):
        if away == 5:
            return
        away = 0 if folder.exists() else away + 1
        shutil.rmtree(folder, ignore_errors=True)
        time.sleep(0.02)


def _of_first(value: int) -> int:
    """The first process's value, for all of them."""
    return int(broadcast_one_to_all(np.int32(value))) if jax.process_count() > 1 else int(value)


def _require_finite(step: int, parts: Mapping[str, Any]) -> None:
    for part, tree in parts.items():
        # An optimizer may start from an infinity (the best loss so far); nothing starts from NaN.
        bad = np.isnan if part == "training" else lambda a: ~np.isfinite(a)
        for path, leaf in by_path(tree).items():
            if jax.numpy.issubdtype(leaf.dtype, jax.numpy.inexact) and bad(leaf).any():
                raise ValueError(f"step {step}: {part}/{path} is not finite, so it is not saved")


def _on_host(array: jax.Array) -> np.ndarray:
    return np.asarray(array if array.is_fully_addressable else array.addressable_data(0))


def _split(state: TrainState) -> tuple[dict[str, Any], dict[str, Any]]:
    model = {name: getattr(state, name) for name in _MODEL}
    key = jax.eval_shape(jax.random.key_data, state.key)
    if not isinstance(state.key, jax.ShapeDtypeStruct):
        key = jax.random.key_data(state.key)
    return model, {"step": state.step, "key": key, "opt_state": state.opt_state}
