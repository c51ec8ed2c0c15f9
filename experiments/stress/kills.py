"""Promises about processes that die: exact resume, kill -9, signals, determinism."""

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
    """Killed anywhere and resumed in a new process, a run ends as if it had not been: the same
    SHA-256 of its state, and every row the same. A VAE, batch normalization, and streaming."""
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
            found, found_rows = outcome(run)
            if found != digest:
                yield f"{kind}, killed with {steps}: the final state differs"
            elif found_rows != rows:
                yield f"{kind}, killed with {steps}: the rows differ"
            else:
                yield None
            _remove(run)


def kill(folder: Path, rng: random.Random) -> Trials:
    """SIGKILL at any moment of a run that saves most of the time: no completed checkpoint is lost,
    the next start goes on from the newest, and nothing piles up."""
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
            wrong = f"there was a checkpoint {newest}, now {steps}"
        newest = max(steps, default=0)
        yield wrong


def signals(folder: Path, rng: random.Random) -> Trials:
    """SIGTERM and Ctrl-C: saved at once, exit code 143 or 130, and resumed exactly."""
    reference, run = folder / "whole", folder / "run"
    seconds = _seconds("vae", reference, 2 * EPOCHS)
    while True:
        for number, code in ((signal.SIGTERM, 143), (signal.SIGINT, 130)):
            process = start("vae", run, 2 * EPOCHS)
            wait_for_rows(process, run, 1)
            time.sleep(rng.uniform(0.0, seconds / 3))  # well before its end
            process.send_signal(number)
            errors = finish(process, code)
            saved = f"the run ended at step {max(_steps(run), default=-1)}, "
            finish(start("vae", run, 2 * EPOCHS))
            if saved not in errors:
                yield f"{number.name}: {errors!r}, and there is no checkpoint of that step"
            elif outcome(run) != outcome(reference):
                yield f"{number.name}: the resumed run is another"
            else:
                yield None
            _remove(run)


def twice(folder: Path, rng: random.Random) -> Trials:
    """A second Ctrl-C ends at once, before the first has saved, and leaves what SIGKILL would."""
    run = folder / "run"
    while True:
        process = start("vae", run, 10**6)
        wait_for_rows(process, run, 1)
        time.sleep(rng.uniform(0.0, 1.0))
        process.send_signal(signal.SIGINT)
        wait_until_noted(process, signal.SIGINT)
        process.send_signal(signal.SIGINT)
        errors = finish(process, -signal.SIGINT)  # which a shell reports as 130
        yield f"it went on: {errors}" if "the run ended" in errors else broken(run)
        _remove(run)


def determinism(folder: Path, rng: random.Random) -> Trials:
    """The same seed twice, in two processes: the same bits, whatever kind of training."""
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
    """How long a whole run takes from its first row on."""
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
