"""Checkpoints of a run: one folder for each saved step.

    checkpoints/STEP/model/         parameters, averaged parameters, untrained collections
                     training/      optimizer state, random key and step, needed to resume
                     manifest.json  SHA-256 of every file, and the caller's notes

Guarantees, tested by ``python -m experiments.stress``:

- A checkpoint is complete or absent, whenever the process dies. It is written under a temporary
  name and renamed when complete; only then are older checkpoints deleted. Temporary folders are
  deleted when the run is opened again.
- A damaged checkpoint is never restored: one with a flipped bit, or with a truncated, missing or
  swapped file. The newest intact checkpoint is restored, and a warning names the damaged one.
- Reading a checkpoint runs no code. Names, shapes, dtypes and sizes are compared with those of the
  model before any array is read.
- Parameters that are not finite are never saved (but in a sweep, beside those of other runs).

Not guaranteed: that files survive a power failure (they are flushed, but a disk may report data as
stored too early) or a network file system that reorders writes. Checksums detect damage, not
forgery: they do not prove who wrote a checkpoint.
"""

import contextlib
import errno
import logging
import os
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
from ae_jax.devices.mesh import is_first_process, on_host
from ae_jax.files import user_path
from ae_jax.storage.arrays import read_arrays, write_arrays
from ae_jax.storage.manifest import DamagedError, read_manifest, verify, write_manifest

log = logging.getLogger(__name__)
_MODEL = ("params", "ema", "model_state")
_SAVING, _REMOVED = "saving.tmp", "removed.tmp"


class Checkpoints:
    """The checkpoints under `directory`.

    Saving deletes all but the newest `keep` checkpoints (None: keep all). Opening deletes the
    temporary folders of interrupted saves, unless `read_only`, which changes nothing on the disk.
    In a run of several processes all of them make the same calls, and only the first one writes.

    Raises `ValueError` if `read_only` and the directory does not exist.
    """

    def __init__(
        self, directory: str | Path, *, keep: int | None = 2, read_only: bool = False
    ) -> None:
        self.directory, self.keep = user_path(directory).absolute(), keep
        if read_only and not self.directory.is_dir():
            raise ValueError(
                f"no checkpoint in {self.directory}: train the run until it saves its first one"
            )
        if not read_only and is_first_process():
            self.directory.mkdir(parents=True, exist_ok=True)
            for name in (_SAVING, _REMOVED):
                shutil.rmtree(self.directory / name, ignore_errors=True)

    def steps(self) -> list[int]:
        """Return the steps of all checkpoints, oldest first."""
        if not self.directory.is_dir():
            return []
        names = [path.name for path in self.directory.iterdir()]
        steps = [int(n) for n in names if n.isascii() and n.isdecimal() and len(n) < 11]
        return sorted(step for step in steps if step < 2**31)

    def notes(self, step: int) -> dict[str, Any]:
        """Return the notes that were saved with the checkpoint of `step`."""
        return dict(read_manifest(self.directory / str(step)).get("notes", {}))

    def save(
        self,
        state: TrainState,
        notes: Mapping[str, Any] | None = None,
        *,
        finite: bool = True,
    ) -> None:
        """Save `state` as the checkpoint of ``state.step``, unless that checkpoint exists.

        Args:
          state: arrays on any mesh. They are stored whole, so another mesh can restore them.
          notes: JSON-ready data to store with them.
          finite: refuse a state that is not finite. The states of a sweep may contain one.

        Raises:
          ValueError: parameters or the optimizer state are not finite.
          OSError: the checkpoint cannot be written. The message has the bytes it needs and the
            bytes that are free. Earlier checkpoints are unchanged.
        """
        step = int(state.step)
        # The first process writes each array from its own host memory, into one file.
        copies = jax.tree.map(on_host, _split(state))
        parts = dict(zip(("model", "training"), copies, strict=True))
        if finite:
            _require_finite(step, parts)
        failure: Exception | None = None
        if is_first_process() and step not in self.steps():
            try:
                self._write(step, parts, dict(notes or {}))
            except Exception as error:
                # Orbax and the system raise many types. No partial checkpoint remains after any.
                _remove_until_absent(self.directory / _SAVING)
                failure = error
        if _from_first_process(failure is not None):
            raise self._cannot_save(step, parts, failure) from failure
        for old in self.steps()[: -self.keep] if self.keep else []:
            self._remove(old)

    def discard_after(self, step: int) -> None:
        """Delete the checkpoints after `step`, which a run resumed at `step` will save again."""
        for later in self.steps():
            if later > step:
                self._remove(later)

    def restore(self, target: TrainState, step: int | None = None) -> TrainState:
        """Return the saved state of `step`; by default, of the newest intact checkpoint.

        Args:
          target: a state with the expected structure, shapes and dtypes; it may be abstract. If its
            ``opt_state`` is None, only the model is read.
          step: the step of the checkpoint. By default a warning names each damaged checkpoint that
            is newer than the restored one.

        Raises:
          ValueError: no checkpoint, a damaged one, or an array that differs in shape or dtype.
        """
        steps = self.steps()
        if not steps:
            raise ValueError(
                f"no checkpoint in {self.directory}: train the run until it saves its first one"
            )
        if step is None:
            step = _from_first_process(self._newest_intact(steps) if is_first_process() else 0)
        elif step not in steps:
            raise ValueError(
                f"no checkpoint of step {step} in {self.directory}: choose one of {steps}"
            )
        return self._read(target, step)

    def _newest_intact(self, steps: list[int]) -> int:
        for step in reversed(steps):
            try:
                self._verify(step)
                return step
            except DamagedError as error:
                log.warning("the checkpoint of step %d is damaged and skipped: %s", step, error)
        return steps[0]  # it is damaged too, and reading it raises the error

    def _verify(self, step: int) -> Path:
        folder = self.directory / str(step)
        if verify(folder).get("step") != step:
            raise DamagedError(f"{folder} contains the checkpoint of another step")
        return folder

    def _write(self, step: int, parts: Mapping[str, Any], notes: dict[str, Any]) -> None:
        saving = self.directory / _SAVING
        shutil.rmtree(saving, ignore_errors=True)
        saving.mkdir()
        if shutil.disk_usage(saving).free < _bytes(parts):
            # Before orbax begins: writes of its own threads would fail after their save has ended.
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        for name, part in parts.items():
            write_arrays(saving / name, part)
        write_manifest(saving, {"step": step, "notes": notes})
        saving.rename(self.directory / str(step))

    def _cannot_save(self, step: int, parts: Mapping[str, Any], error: Exception | None) -> OSError:
        needed = _bytes(parts)
        reason = "see the error of process 0" if error is None else str(error).partition("\n")[0]
        with contextlib.suppress(OSError):
            free = shutil.disk_usage(self.directory).free
            # The system sets errno; orbax's file driver only quotes the system's message.
            full = getattr(error, "errno", 0) == errno.ENOSPC or "No space left" in str(error)
            if free < needed or full:
                reason = f"it needs about {size(needed)}, and {size(free)} are free"
        intact = ", ".join(map(str, self.steps())) or "none"
        return OSError(
            f"cannot save the checkpoint of step {step} in {self.directory}: {reason}; intact "
            f"checkpoints: {intact}"
        )

    def _remove(self, step: int) -> None:
        if is_first_process():
            # Renamed first, because a half-deleted checkpoint would look damaged.
            removed = self.directory / _REMOVED
            shutil.rmtree(removed, ignore_errors=True)
            (self.directory / str(step)).rename(removed)
            shutil.rmtree(removed, ignore_errors=True)

    def _read(self, target: TrainState, step: int) -> TrainState:
        folder = self._verify(step)
        model, training = _split(target)
        expected = {"model": model} | ({} if target.opt_state is None else {"training": training})
        parts = {}
        for name, part in expected.items():
            parts[name] = read_arrays(folder / name, part)
        if target.opt_state is None:
            return target.replace(step=jax.numpy.int32(step), **parts["model"])
        if int(parts["training"]["step"]) != step:
            actual = int(parts["training"]["step"])
            raise DamagedError(f"{folder} contains the state of step {actual}")
        key = jax.random.wrap_key_data(parts["training"]["key"])
        return TrainState(**parts["model"], **(dict(parts["training"]) | {"key": key}))


def _bytes(parts: Mapping[str, Any]) -> int:
    """What the arrays of a checkpoint take on a disk."""
    return sum(leaf.nbytes for leaf in jax.tree.leaves(parts))


def _remove_until_absent(folder: Path) -> None:
    """Delete `folder` again and again until it stays absent for 0.1 s, for at most 4 s.

    Orbax writes several files at once, and after one fails it does not wait for the others. A file
    that is written later still is deleted when the run is opened again.
    """
    absent = 0
    for _ in range(200):
        if absent == 5:
            return
        absent = 0 if folder.exists() else absent + 1
        shutil.rmtree(folder, ignore_errors=True)
        time.sleep(0.02)


def _from_first_process(value: int) -> int:
    """Return the first process's value in every process."""
    return int(broadcast_one_to_all(np.int32(value))) if jax.process_count() > 1 else int(value)


def _require_finite(step: int, parts: Mapping[str, Any]) -> None:
    for part, tree in parts.items():
        for path, leaf in by_path(tree).items():
            # A scalar of an optimizer may be infinite (the best loss so far), but never NaN.
            scalar = part == "training" and leaf.ndim == 0
            bad = np.isnan if scalar else lambda a: ~np.isfinite(a)
            if jax.numpy.issubdtype(leaf.dtype, jax.numpy.inexact) and bad(leaf).any():
                raise ValueError(
                    f"step {step}: {part}/{path} is not finite, so no checkpoint is saved: resume "
                    "from an earlier one"
                )


def _split(state: TrainState) -> tuple[dict[str, Any], dict[str, Any]]:
    model = {name: getattr(state, name) for name in _MODEL}
    key = jax.eval_shape(jax.random.key_data, state.key)
    if not isinstance(state.key, jax.ShapeDtypeStruct):
        key = jax.random.key_data(state.key)
    return model, {"step": state.step, "key": key, "opt_state": state.opt_state}
