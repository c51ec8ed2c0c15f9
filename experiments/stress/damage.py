"""Promises about damaged files: checkpoints, and data sets of all supported formats."""

import gzip
import logging
import random
import shutil
import struct
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax

from ae_jax.core import TrainState, init_state
from ae_jax.data import load, prepare
from ae_jax.storage.checkpoint import Checkpoints
from experiments.stress.worker import autoencoder, digest, train

Trials = Iterator[str | None]
REFUSALS = (ValueError, TypeError, OSError)


def corruption(folder: Path, rng: random.Random) -> Trials:
    """A checkpoint with a flipped bit, or a file truncated, deleted, added, renamed or swapped.

    A wrong state is never restored. Instead the older checkpoint is restored, and a warning names
    the damaged one.
    """
    run = folder / "run"
    train("vae", run, 6)
    intact = run / "checkpoints"
    older, newest = Checkpoints(intact, read_only=True).steps()
    # With the optimizer that `fit` creates for a learning rate.
    target = jax.eval_shape(
        lambda: init_state(autoencoder("vae"), optax.adam(1e-3), jax.random.key(0), ema=True)
    )
    expected = {
        step: digest(Checkpoints(intact, read_only=True).restore(target, step))
        for step in (older, newest)
    }
    while True:
        copy = Path(shutil.copytree(intact, folder / "copy"))
        what, step = _damage(copy, rng)
        with _Warnings("ae_jax.storage.checkpoint") as warnings:
            state: TrainState = Checkpoints(copy, read_only=True).restore(target)
        restored = int(state.step)
        if digest(state) != expected[restored]:
            yield f"{what}: the restored state is not that of step {restored}"
        elif step == newest and (restored != older or f"step {newest} " not in "".join(warnings)):
            yield f"{what}: step {restored} was restored, with the warnings {warnings}"
        else:
            yield None
        shutil.rmtree(copy)


def _damage(checkpoints: Path, rng: random.Random) -> tuple[str, int]:
    """Damage one file; returns a description, and the step of its checkpoint (-1 if uncertain)."""
    while True:
        file = rng.choice([p for p in sorted(checkpoints.rglob("*")) if p.is_file()])
        step = int(file.relative_to(checkpoints).parts[0])
        content, name = file.read_bytes(), file.relative_to(checkpoints)
        match rng.choice(("flip", "truncate", "delete", "empty", "swap", "add", "rename")):
            case "delete":
                file.unlink()
                return f"{name} deleted", step
            case "add":
                (file.parent / "another").write_bytes(content)
                return f"{name} copied", step
            case "rename":
                file.rename(file.with_name("another"))
                return f"{name} renamed", step
            case "swap":
                # Within one checkpoint, so that only one is damaged.
                files = [p for p in sorted((checkpoints / str(step)).rglob("*")) if p.is_file()]
                other = rng.choice(files)
                if other.read_bytes() == content:
                    continue
                file.write_bytes(other.read_bytes())
                other.write_bytes(content)
                return f"{name} swapped with {other.relative_to(checkpoints)}", step
            case kind:
                changed = mutate(content, kind, rng)
                if changed == content:
                    continue
                file.write_bytes(changed)
                if name.name == "manifest.json" and kind == "flip":
                    step = -1  # changed whitespace does no damage
                return f"{name}: {kind}", step


def mutate(content: bytes, kind: str, rng: random.Random) -> bytes:
    """`content` with one change of the given kind."""
    at = rng.randrange(len(content)) if content else 0
    match kind:
        case "flip":
            changed = bytearray(content)
            if changed:
                changed[at] ^= 1 << rng.randrange(8)
            return bytes(changed)
        case "truncate":
            return content[:at]
        case "empty":
            return b""
        case "extend":
            return content + rng.randbytes(rng.randrange(1, 100))
        case "overwrite":
            return content[:at] + rng.randbytes(rng.randrange(1, 32)) + content[at + 32 :]
        case "cut":
            return content[:at] + content[at + rng.randrange(1, 32) :]
    raise ValueError(kind)


KINDS = ("flip", "truncate", "empty", "extend", "overwrite", "cut")


def data(folder: Path, rng: random.Random) -> Trials:
    """A damaged .npz, idx .gz or array_record file: an error of one line, or the same data."""
    sets = data_sets(folder)
    expected = [read() for _, read in sets]
    while True:
        number = rng.randrange(len(sets))
        file, read = sets[number]
        content, kind = file.read_bytes(), rng.choice(KINDS)
        file.write_bytes(mutate(content, kind, rng))
        try:
            arrays = read()
            same = all(np.array_equal(arrays[k], v) for k, v in expected[number].items())
            yield None if same else f"{file.name}, {kind}: other data was read"
        except REFUSALS as error:
            ok = "\n" not in str(error) and str(file.parent) in str(error)
            yield None if ok else f"{file.name}, {kind}: {error!r}"
        except Exception as error:
            yield f"{file.name}, {kind}: {error!r}"
        file.write_bytes(content)


def data_sets(folder: Path) -> list[tuple[Path, Callable[[], dict[str, Any]]]]:
    """Small data sets of all formats: pairs of a file and a function that reads the set."""
    import tensorflow_datasets as tfds

    numbers = np.random.default_rng(0)
    x, label = numbers.integers(0, 256, (60, 28, 28), np.uint8), numbers.integers(0, 10, 60)
    sets: list[tuple[Path, Callable[[], dict[str, Any]]]] = []

    plain, packed = folder / "plain.npz", folder / "packed.npz"
    np.savez(plain, x=x, label=label)
    np.savez_compressed(packed, x=x, label=label)
    sets += [(file, partial(load, file, "train")) for file in (plain, packed)]

    idx = folder / "idx"
    idx.mkdir()
    for part, array in (("images-idx3", x), ("labels-idx1", np.uint8(label))):
        header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
        file = idx / f"train-{part}-ubyte.gz"
        file.write_bytes(gzip.compress(header + array.tobytes()))
        sets.append((file, partial(load, idx, "train")))

    split = (x[..., None], label)
    tfds.disable_progress_bar()
    prepare.write("mnist", {"train": split, "test": split}, folder / "tfds")
    version = next((folder / "tfds" / "mnist").iterdir())
    files = [next(version.glob("mnist-train.array_record*")), version / "dataset_info.json"]
    return sets + [(file, partial(load, "mnist", "train", folder / "tfds")) for file in files]


class _Warnings(logging.Handler):
    """A context manager that collects the warnings of one logger in a list."""

    def __init__(self, name: str) -> None:
        super().__init__(logging.WARNING)
        self.logger, self.messages = logging.getLogger(name), list[str]()

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())

    def __enter__(self) -> list[str]:
        self.logger.addHandler(self)
        self.logger.propagate = False
        return self.messages

    def __exit__(self, *_: object) -> None:
        self.logger.removeHandler(self)
        self.logger.propagate = True
