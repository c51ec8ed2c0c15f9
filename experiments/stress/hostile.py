"""Promises about files that were made to do harm, so their checksums are correct."""

import contextlib
import hashlib
import json
import random
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax

from ae_jax import load_run
from ae_jax.core import init_state
from ae_jax.data import load
from ae_jax.devices.host import peak_bytes, reset_peak, resident_bytes
from ae_jax.storage.checkpoint import Checkpoints
from ae_jax.storage.export import export, load_exported
from ae_jax.storage.manifest import read_manifest, write_manifest
from ae_jax.storage.runs import Run
from ae_jax.training.description import from_notes
from ae_jax.training.loop import no_sums
from experiments.stress.damage import KINDS, REFUSALS, Trials, data_sets, mutate
from experiments.stress.worker import autoencoder, train

SLACK = 48 * 2**20
"""Bytes that Python and the allocators may need for any file."""
NASTY: tuple[Any, ...] = (
    *(None, True, -1, 0, 1, 1.5, 2**31, 2**63, 10**30, 1e308, float("nan")),
    *("", "os.system", "../../../etc/passwd", "/etc/passwd", "__import__('os').system('true')"),
    *("\x00", "é" * 300, "x" * 100_000),
    *([], {}, [[]], [1] * 3000, {"kind": "eval"}, ["posix", "system"]),
)


def hostile(folder: Path, rng: random.Random) -> Trials:
    """Fuzzed configurations, rows, checkpoints, exports and data sets, with correct checksums.

    Each is read, or refused in one line. Nothing is written elsewhere, and reading needs at most
    twice the memory of the file (and `SLACK`).
    """
    targets = list(_targets(folder / "inside"))
    before = _listing(folder)
    while True:
        name, file, read, sign = rng.choice(targets)
        content = file.read_bytes()
        changed = _fuzz(content, rng)
        file.write_bytes(changed)
        sign()
        base = resident_bytes() if reset_peak() else None
        problem = None
        try:
            read()
        except REFUSALS as error:
            problem = f"more than a line: {error!r}" if "\n" in str(error) else None
        except Exception as error:
            problem = repr(error)
        grown = 0 if base is None else peak_bytes() - base
        # A reader needs at most the file and the files beside it.
        if grown > 2 * max(len(changed), _size(file.parent)) + SLACK:
            problem = problem or f"{grown:,} bytes of memory for a file of {len(changed):,}"
        file.write_bytes(content)
        sign()
        if (after := _listing(folder)) != before:
            problem = f"wrote {sorted(after ^ before)}"
            before = after
        yield f"{name}: {problem} in {changed[:3000]!r}" if problem else None


def _targets(folder: Path) -> Iterator[tuple[str, Path, Callable[[], Any], Callable[[], Any]]]:
    """What is attacked: a name, a file, what reads it, and what makes its checksums right again."""
    folder.mkdir()
    run, shared = folder / "run", folder / "shared"
    train("vae", run, 2)
    export(run, shared)
    for _ in range(3):
        yield "config.json", run / "config.json", partial(load_run, run), _unsigned
    yield "metrics.jsonl", run / "metrics.jsonl", lambda: Run.open(run).rows(), _unsigned

    target = jax.eval_shape(
        lambda: init_state(autoencoder("vae"), optax.adam(1e-3), jax.random.key(0), ema=True)
    )

    def restore() -> None:
        store = Checkpoints(run / "checkpoints", read_only=True)
        from_notes(store.notes(store.steps()[-1]), no_sums(("loss", "nll", "kl")))
        store.restore(target)

    (checkpoint,) = (run / "checkpoints").iterdir()
    facts = {k: v for k, v in read_manifest(checkpoint).items() if k in ("step", "notes")}
    names = ["model/_METADATA", "model/_CHECKPOINT_METADATA"]
    names += ["training/_METADATA", "training/step/.zarray", "training/step/0"]
    names += ["model/params.mean.kernel/.zarray", "model/params.mean.kernel/0.0"]
    for name in names:
        yield name, checkpoint / name, restore, partial(write_manifest, checkpoint, facts)
    yield "manifest.json", checkpoint / "manifest.json", restore, _unsigned
    for _ in range(2):
        signed = partial(_sign_as_it_is, checkpoint / "manifest.json")
        yield "signed manifest.json", checkpoint / "manifest.json", restore, signed

    for name in ("model.safetensors", "config.json"):
        sign = partial(write_manifest, shared, {})
        for _ in range(2):
            yield f"shared {name}", shared / name, partial(load_exported, shared), sign
    table = folder / "table.csv"
    rows = np.random.default_rng(0).normal(size=(60, 20)).round(3)
    rows[:, 0] = rows[:, 0].round()
    np.savetxt(table, rows, delimiter=",", header="label" + ",x" * 19, comments="", fmt="%g")
    sets = data_sets(folder)
    sets.append((table, partial(load, table, "train")))
    for file, read in sets:
        for _ in range(2):
            yield file.name, file, read, _unsigned


def _unsigned() -> None:
    """What makes the checksums of a file right that has none."""


def _sign_as_it_is(file: Path) -> None:
    """Give a manifest the digest of what it says now."""
    with contextlib.suppress(ValueError, KeyError, TypeError, RecursionError):
        content = json.loads(file.read_bytes())
        canonical = json.dumps(content["manifest"], sort_keys=True).encode()
        content["sha256"] = hashlib.sha256(canonical).hexdigest()
        file.write_text(json.dumps(content) + "\n")


def _fuzz(content: bytes, rng: random.Random) -> bytes:
    """`content` changed in a few places: in its values where it is JSON, else in its bytes."""
    if rng.random() < 0.6:
        with contextlib.suppress(ValueError, RecursionError):
            data = json.loads(content)
            for _ in range(rng.randrange(1, 4)):
                data = _change(data, rng)
            return json.dumps(data).encode()
    if rng.random() < 0.02:
        return b"[" * 200_000
    for _ in range(rng.randrange(1, 4)):
        content = mutate(content, rng.choice(KINDS), rng)
    return content


def _change(data: Any, rng: random.Random) -> Any:
    """JSON data with one value, at any depth, replaced, removed or given twice."""
    if not isinstance(data, dict | list) or not data or rng.random() < 0.1:
        return rng.choice(NASTY)
    keys = list(data) if isinstance(data, dict) else list(range(len(data)))
    key = rng.choice(keys)
    match rng.random():
        case p if p < 0.1:
            del data[key]
        case p if p < 0.15 and isinstance(data, dict):
            data[str(rng.choice(NASTY))[:50]] = data[key]
        case _:
            data[key] = _change(data[key], rng)
    return data


def _listing(folder: Path) -> set[tuple[str, int]]:
    """The files under `folder` with their sizes."""
    return {(str(p), p.lstat().st_size) for p in folder.rglob("*") if not p.is_dir()}


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
