"""Promises about killed processes: exact resume, SIGKILL, signals, determinism."""

import random
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from experiments.stress.processes import (
    broken,
    finish,
    first_rows,
    kill_at_random,
    outcome,
    start,
    wait_for_rows,
    wait_until_noted,
)
from experiments.stress.worker import KINDS, LOG_EVERY

EPOCHS = 20
Trials = Iterator[str | None]


def resume(folder: Path, rng: random.Random) -> Trials:
    """A run that is killed at a random time and resumed equals an uninterrupted run.

    The SHA-256 of the final state and all rows are the same, for a VAE, for batch normalization and
    for streamed data.
    """
    references = {}
    for kind in KINDS:
        run = folder / kind
        seconds = _seconds(kind, run, EPOCHS)
        references[kind] = (*outcome(run), seconds)
    while True:
        for kind in KINDS:
            run = folder / f"{kind}-killed"
            digest, rows, seconds = references[kind]
            process = start(kind, run, EPOCHS)
            wait_for_rows(process, run, 1)
            kill_at_random(process, rng, 0.9 * seconds)
            steps = sorted(map(str, (run / "checkpoints").iterdir()))
            finish(start(kind, run, EPOCHS))
            resumed, resumed_rows = outcome(run)
            if resumed != digest:
                yield f"{kind}, killed with {steps}: the final state differs"
            elif resumed_rows != rows:
                yield f"{kind}, killed with {steps}: the rows differ"
            else:
                yield None
            _remove(run)


def kill(folder: Path, rng: random.Random) -> Trials:
    """SIGKILL at a random time of a run that saves most of the time.

    No completed checkpoint is lost, the next start resumes from the newest, no files accumulate.
    """
    run, starts, newest = folder / "run", 0, 0
    while True:
        process = start("vae", run, 10**6)
        starts += 1
        wait_for_rows(process, run, starts)
        kill_at_random(process, rng, 1.5)
        wrong, steps, first = broken(run), _steps(run), first_rows(run)[-1]
        if not 0 < first - newest <= LOG_EVERY:
            wrong = f"the newest checkpoint was {newest}, the next row {first}"
        elif max(steps, default=0) < newest:
            wrong = f"the checkpoint {newest} is lost, the steps are {steps}"
        newest = max(steps, default=0)
        yield wrong


def signals(folder: Path, rng: random.Random) -> Trials:
    """SIGTERM and Ctrl-C: the run is saved at once, exits with 143 or 130, and resumes exactly."""
    reference, run = folder / "whole", folder / "run"
    seconds = _seconds("vae", reference, 2 * EPOCHS)
    while True:
        for number, code in ((signal.SIGTERM, 143), (signal.SIGINT, 130)):
            process = start("vae", run, 2 * EPOCHS)
            wait_for_rows(process, run, 1)
            time.sleep(rng.uniform(0.0, seconds / 3))  # well before the end
            process.send_signal(number)
            errors = finish(process, code)
            saved = f"the run ended at step {max(_steps(run), default=-1)}, "
            finish(start("vae", run, 2 * EPOCHS))
            if saved not in errors:
                yield f"{number.name}: {errors!r}, and no checkpoint of that step"
            elif outcome(run) != outcome(reference):
                yield f"{number.name}: the resumed run differs"
            else:
                yield None
            _remove(run)


def twice(folder: Path, rng: random.Random) -> Trials:
    """A second Ctrl-C ends the process at once, with an intact run directory as after SIGKILL."""
    run = folder / "run"
    while True:
        process = start("vae", run, 10**6)
        wait_for_rows(process, run, 1)
        time.sleep(rng.uniform(0.0, 1.0))
        process.send_signal(signal.SIGINT)
        wait_until_noted(process, signal.SIGINT)
        process.send_signal(signal.SIGINT)
        errors = finish(process, -signal.SIGINT)  # which a shell reports as 130
        yield f"it did not stop: {errors}" if "the run ended" in errors else broken(run)
        _remove(run)


def determinism(folder: Path, rng: random.Random) -> Trials:
    """Two processes with the same seed: the same bits for all kinds of training."""
    while True:
        for kind in KINDS:
            runs = [folder / f"{kind}-{i}" for i in range(2)]
            for run in runs:
                finish(start(kind, run, 5))
            same = outcome(runs[0]) == outcome(runs[1])
            yield None if same else f"{kind}: two runs differ"
            for run in runs:
                _remove(run)


def _seconds(kind: str, run: Path, epochs: int) -> float:
    """Seconds of an uninterrupted run after its first row."""
    process = start(kind, run, epochs)
    wait_for_rows(process, run, 1)
    began = time.monotonic()
    finish(process)
    return time.monotonic() - began


def _steps(run: Path) -> list[int]:
    return [int(p.name) for p in (run / "checkpoints").glob("*") if p.name.isdecimal()]


def _remove(run: Path) -> None:
    for file in run.parent.glob(f"{run.name}.*"):
        file.unlink()
    shutil.rmtree(run)
