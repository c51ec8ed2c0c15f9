"""The promise that a long run needs no more memory than a short one, and compiles nothing new."""

import gc
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np

from ae_jax.devices.host import resident_bytes
from ae_jax.training import fit
from experiments.stress.worker import autoencoder

STEPS, SAVES = 10_000, 50
WARM = 5
"""Saves before memory is compared: allocators and orbax have filled their pools by then."""
GROWTH = 0.05


def leaks(folder: Path, rng: random.Random) -> Iterator[str | None]:
    """10,000 steps with 50 saves and 50 evaluations, in two halves; the second half resumes.

    Resident memory grows by less than 5%, the number of arrays is constant, and the loops of
    training and evaluation are compiled once in each half.
    """
    del rng
    while True:
        with tempfile.TemporaryDirectory(dir=folder) as run:
            memory, arrays, compiled = measure(Path(run) / "run", STEPS, SAVES)
        growth = memory[-1] / memory[WARM] - 1
        if growth > GROWTH:
            yield f"memory grew by {growth:.1%}: {memory}"
        elif len(set(arrays[1 : SAVES // 2] + arrays[SAVES // 2 + 1 :])) > 1:
            yield f"live arrays: {arrays}"
        elif compiled != 4:
            yield f"the loops were compiled {compiled} times"
        else:
            yield None


def measure(run: Path, steps: int, saves: int) -> tuple[list[int], list[int], int]:
    """Resident bytes and live arrays at every evaluation, and how often a loop was compiled."""
    x = np.random.default_rng(0).integers(0, 256, (32 * (steps // saves), 8, 8, 1), np.uint8)
    memory: list[int] = []
    arrays: list[int] = []
    names: list[str] = []

    def note(event: str, duration_secs: float, **about: str | int) -> None:
        if event.endswith("backend_compile_duration"):
            names.append(str(about.get("fun_name")))

    def look(state: object, row: dict) -> None:
        if row["split"] == "test":
            gc.collect()
            memory.append(resident_bytes())
            arrays.append(len(jax.live_arrays()))

    jax.monitoring.register_event_duration_secs_listener(note)
    try:
        for half in (1, 2):
            fit(
                autoencoder("vae"),
                x,
                epochs=half * saves // 2,
                batch_size=32,
                eval_data=x[:512],
                run_dir=run,
                resume=half == 2,
                checkpoint_every=1,
                callbacks=[look],
            )
    finally:
        jax.monitoring.unregister_event_duration_listener(note)
    return memory, arrays, sum(name in ("jit(run)", "jit_run", "run") for name in names)
