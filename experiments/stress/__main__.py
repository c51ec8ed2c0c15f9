"""Test the promises about survival many times, and print how often each was kept.

python -m experiments.stress                        all of them: about an hour on two cores
python -m experiments.stress kill data --minutes 5  two of them, in five minutes together
"""

import json
import logging
import random
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console
from rich.table import Table

from ae_jax.files import writable_file
from ae_jax.spec import nearest
from experiments.cli import parse_options, run_main
from experiments.stress.configurations import WRONG, configurations
from experiments.stress.damage import corruption, data
from experiments.stress.hostile import hostile
from experiments.stress.kills import determinism, kill, resume, signals, twice
from experiments.stress.leaks import leaks

PROMISES = {
    "resume": (resume, 100),
    "kill": (kill, 200),
    "signals": (signals, 20),
    "twice": (twice, 20),
    "determinism": (determinism, 10),
    "corruption": (corruption, 500),
    "data": (data, 200),
    "hostile": (hostile, 10_000),
    "configurations": (configurations, len(WRONG)),
    "leaks": (leaks, 1),
}
"""The test of each promise, and the number of trials."""


@dataclass(frozen=True, kw_only=True)
class Options:
    promises: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """By default all of them."""
    minutes: float | None = None
    """Time for all of them together; by default without a limit."""
    seed: int = 0
    json: Path | None = None
    """A file for the counts."""


def main(argv: Sequence[str]) -> None:
    about = f"{__doc__}\npromises: {', '.join(PROMISES)}"
    options = parse_options(argv, Options, prog="python -m experiments.stress", about=about)
    for name in options.promises:
        if name not in PROMISES:
            raise ValueError(f"no promise {name!r}: {nearest(name, PROMISES)}")
    names = options.promises or tuple(PROMISES)
    file = None if options.json is None else writable_file(options.json)
    quiet = logging.getLogger("ae_jax")  # without warnings of intended damage
    quiet.addHandler(logging.NullHandler())
    quiet.propagate = False
    console, counts = Console(), {}
    for name in names:
        seconds = None if options.minutes is None else 60 * options.minutes / len(names)
        counts[name] = attempt(name, options.seed, seconds, console)
    table = Table("promise", "trials", "kept", "minutes")
    for name, count in counts.items():
        minutes = f"{count['seconds'] / 60:.1f}"
        table.add_row(name, str(count["trials"]), str(count["kept"]), minutes)
    console.print(table)
    if file is not None:
        file.write_text(json.dumps(counts, indent=2) + "\n")
    broken = [name for name, count in counts.items() if count["kept"] < count["trials"]]
    if broken:
        raise SystemExit(f"broken: {', '.join(broken)}")


def attempt(name: str, seed: int, seconds: float | None, console: Console) -> dict[str, float]:
    """Test one promise until its number of trials, or its time, is reached."""
    promise, times = PROMISES[name]
    began, trials, kept = time.monotonic(), 0, 0
    with tempfile.TemporaryDirectory() as folder:
        for problem in _or_failure(promise(Path(folder), random.Random(seed))):
            trials += 1
            kept += problem is None
            if problem is not None:
                console.print(f"{name} {trials}: {problem}", markup=False, soft_wrap=True)
            spent = time.monotonic() - began
            if trials == times or (seconds is not None and spent > seconds):
                break
    return {"trials": trials, "kept": kept, "seconds": round(spent, 1)}


def _or_failure(trials: Iterator[str | None]) -> Iterator[str | None]:
    """The trials; an exception becomes a last, failed trial."""
    try:
        yield from trials
    except Exception as error:
        yield f"{type(error).__name__}: {error}"


if __name__ == "__main__":
    run_main(main)
