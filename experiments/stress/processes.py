"""Start, watch and kill processes that train."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from ae_jax.storage.manifest import verify
from ae_jax.storage.runs import Run

START = 60.0
"""Seconds that a process has for its first row, or to handle a signal."""


def start(kind: str, run: Path, epochs: int) -> subprocess.Popen[str]:
    """Start a worker process; all workers share a cache of compiled programs."""
    cache = {
        "JAX_COMPILATION_CACHE_DIR": str(run.parent / "cache"),
        "JAX_ENABLE_COMPILATION_CACHE": "true",
    }
    command = [sys.executable, "-m", "experiments.stress.worker", kind, str(run)]
    return subprocess.Popen(
        [*command, "--epochs", str(epochs)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | cache,
        cwd=Path(__file__).parents[2],
    )


def finish(process: subprocess.Popen[str], expected: int = 0) -> str:
    """Wait for a process and return its stderr; `RuntimeError` for another exit code."""
    _, errors = process.communicate(timeout=300)
    if process.returncode != expected:
        raise RuntimeError(f"exit code {process.returncode}, not {expected}: {errors[-2000:]}")
    return errors


def wait_for_rows(process: subprocess.Popen[str], run: Path, starts: int) -> None:
    """Wait until the process has logged a row after `starts` starts, or has ended."""
    until = time.monotonic() + START
    while len(first_rows(run)) < starts and process.poll() is None:
        if time.monotonic() > until:
            process.kill()
            raise RuntimeError(f"no row in {START} s")
        time.sleep(0.002)


def wait_until_noted(process: subprocess.Popen[str], number: signal.Signals) -> None:
    """Wait until the process has handled a first signal and reset its handler.

    Python would merge an earlier second signal with the first one. Linux reports the handlers of a
    process; on other systems this waits for a fixed time.
    """
    status, until = Path(f"/proc/{process.pid}/status"), time.monotonic() + START
    if not status.exists():
        time.sleep(0.1)
        return
    while process.poll() is None:
        handled = next(line for line in status.read_text().splitlines() if "SigCgt" in line)
        if not int(handled.split()[1], 16) >> (number - 1) & 1:
            return
        if time.monotonic() > until:
            process.kill()
            raise RuntimeError(f"{number.name} was not handled in {START} s")
        time.sleep(0.001)


def kill_at_random(process: subprocess.Popen[str], rng: random.Random, seconds: float) -> None:
    """Send SIGKILL after a random time of at most `seconds`."""
    time.sleep(rng.uniform(0.0, seconds))
    process.send_signal(signal.SIGKILL)
    process.communicate()


def first_rows(run: Path) -> list[int]:
    """The step of the first row that each start of the worker logged."""
    file = Path(f"{run}.starts")
    return [int(line) for line in file.read_text().split()] if file.exists() else []


def outcome(run: Path) -> tuple[str, list[dict[str, Any]]]:
    """The digest of the final state, and all logged rows without their speed."""
    rows = [{k: v for k, v in row.items() if k != "images_per_second"} for row in Run(run).rows()]
    return Path(f"{run}.final").read_text(), rows


def broken(run: Path, *, keep: int = 2) -> str | None:
    """The problem of a run directory whose process was killed, or None.

    Checkpoints must be intact, and at most `keep` and one that was being saved or removed.
    metrics.jsonl must have complete lines, and no step twice.
    """
    names = [path.name for path in (run / "checkpoints").iterdir()]
    steps = sorted(int(name) for name in names if name.isdecimal())
    leftovers = sorted(set(names) - set(map(str, steps)))
    if not set(leftovers) <= {"saving.tmp", "removed.tmp"} or len(steps) > keep + 1:
        return f"checkpoints holds {sorted(names)}"
    for step in steps:
        verify(run / "checkpoints" / str(step))
    content = (run / "metrics.jsonl").read_text()
    if content and not content.endswith("\n"):
        return f"metrics.jsonl ends in {content.splitlines()[-1]!r}"
    rows = [json.loads(line) for line in content.splitlines()]
    seen = [(row["step"], row["split"]) for row in rows]
    return f"rows twice: {seen}" if len(set(seen)) < len(seen) else None
