"""Run a compiled training to its end: with rows, tests and checkpoints when they are due.

`fit` and `sweep` share this. They differ in what they compile (see `ae_jax.training.plan.Program`).
"""

import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax

from ae_jax.core import TrainState
from ae_jax.devices.mesh import is_first_process, put
from ae_jax.storage.checkpoint import Checkpoints
from ae_jax.storage.claim import claimed
from ae_jax.storage.runs import Run
from ae_jax.trackers import Tracking
from ae_jax.training.description import create_run, from_notes, open_run, to_notes
from ae_jax.training.drive import Pace, drive
from ae_jax.training.interrupt import Interrupt
from ae_jax.training.loop import Sums
from ae_jax.training.plan import Program
from ae_jax.training.rows import Logger

Diagnose = Callable[[TrainState, int], Exception]
"""``(state, step) -> error``: why the update of that step was not finite."""


def output(
    run_dir: str | Path | None, *, resume: bool
) -> contextlib.AbstractContextManager[Path | None]:
    """A context with the claimed directory of a run (see `claimed`), or None without one."""
    if run_dir is None:
        return contextlib.nullcontext()
    if resume:
        Run.open(run_dir)
    return claimed(run_dir, new=not resume)


def has_checkpoint(path: Path | None) -> bool:
    """Whether the run in `path` has saved a checkpoint."""
    if path is None or not (path / "checkpoints").is_dir():
        return False
    return bool(Run.open(path).checkpoints(read_only=True).steps())


def begin(
    path: Path,
    described: Mapping[str, Any],
    config: Mapping[str, Any],
    *,
    resume: bool,
    changes: bool,
) -> tuple[Run, dict[str, Any] | None]:
    """The run in the claimed directory `path`, and the configuration of a resumed one.

    Raises `ValueError` if the resumed run was begun with another description (see `open_run`).
    """
    if resume:
        return open_run(path, described, config, changes=changes)
    return create_run(path, {**described, **config}), None


def train_program(
    program: Program,
    logger: Logger,
    tracking: Tracking,
    run: Run | None,
    resumed: Mapping[str, Any] | None,
    *,
    diagnose: Diagnose,
) -> TrainState:
    """Train to the end of the program, with rows to `logger` and checkpoints to `run`.

    With the configuration of a `resumed` run, from its newest checkpoint on. No caller holds the
    states: each is freed when the next one is made.
    """
    store = None if run is None else run.checkpoints()
    if resumed is None or run is None or store is None:
        state, sums = program.take_state(), program.zeros
    else:
        state, sums = _restored(program, store)
        if is_first_process():
            run.write_config(resumed)
    if run is not None:
        logger.write_to(run, int(state.step))
    sizes, zeros, pace = program.sizes, program.zeros, Pace()
    per_epoch, total, max_skips = sizes.per_epoch, sizes.total, sizes.max_skips
    with (
        tracking.running(run, logger.history),
        Interrupt(saves=store is not None) as interrupt,
    ):
        while True:
            step = int(state.step)
            last = step >= total or logger.stop
            due = step > 0 and (step % per_epoch == 0 or last) and not interrupt.agreed
            if program.evaluate is not None and due and not logger.has(step, "test"):
                logger.start()
                tested = program.evaluate(state, interrupt.asked)
                if tested is not None:
                    row = {"step": step, "epoch": step / per_epoch, "split": "test"}
                    logger.log(row, tested, state)
            last |= logger.stop or interrupt.agreed
            if store is not None and step > 0 and (step % sizes.save_every == 0 or last):
                store.save(state, to_notes(sums), finite=program.guarded)
            if last:
                break

            epoch, first = divmod(step, per_epoch)
            length = min(sizes.chunk - first % sizes.chunk, per_epoch - first, total - step)
            end = min((first + length) * sizes.batch_size, sizes.examples)
            logger.start()
            state, sums = drive(
                lambda carry, *piece: program.loop(*carry, *piece),
                (state, sums),
                program.feed.pieces(epoch, first, length),
                pace,
                lambda sums: interrupt.asked() or int(sums.skips.streak) > max_skips,
            )
            if int(sums.skips.streak) > max_skips:
                raise diagnose(state, int(sums.skips.last))
            if int(state.step) == step + length:
                row = {"step": step + length, "epoch": (step + length) / per_epoch}
                images = end - first * sizes.batch_size
                logger.log({**row, "split": "train"}, sums, state, images)
                # A streak of skipped updates continues across rows.
                sums = zeros._replace(skips=sums.skips._replace(total=zeros.skips.total))
        if interrupt.asked():  # also while the last state was saved
            interrupt.end(step, None if run is None else run.path)
    return state


def _restored(program: Program, store: Checkpoints) -> tuple[TrainState, Sums]:
    """The newest intact state, and the sums of the row that it stopped in."""
    state = program.take_state()
    if not store.steps():  # it stopped before its first checkpoint: it starts again
        return state, program.zeros
    state = store.restore(state)
    sums = from_notes(store.notes(int(state.step)), program.zeros)
    store.discard_after(int(state.step))
    return state, jax.tree.map(lambda new, old: put(new, old.sharding), sums, program.zeros)
