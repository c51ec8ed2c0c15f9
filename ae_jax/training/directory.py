"""The run directory of a training: made or opened again, and what a resumed run must agree on."""

import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental.multihost_utils import broadcast_one_to_all

from ae_jax.core import Autoencoder
from ae_jax.devices.mesh import is_first_process
from ae_jax.spec import to_dict
from ae_jax.storage.runs import Run, differences
from ae_jax.training.loop import Skips, Sums

SAMPLE = 256  # examples that stand for a data set in its fingerprint


def describe(
    ae: Autoencoder,
    data: Mapping[str, np.ndarray],
    *,
    seed: int,
    ema_decay: float | None,
    settings: Mapping[str, Any],
) -> dict[str, Any]:
    """The part of ``config.json`` that `load_run` needs, and that decides what a run computes."""
    fingerprints = {name: _fingerprint(array) for name, array in data.items()}
    return {
        "model": None if ae.spec is None else to_dict(ae.spec),
        "event_shape": list(ae.event_shape),
        "dtype": str(jnp.dtype(ae.dtype)),
        "train": {"ema_decay": ema_decay},
        "seed": int(seed),
        "fit": {**settings, "ema_decay": ema_decay, "data": fingerprints},
    }


def open_run(
    path: str | Path, described: Mapping[str, Any], config: Mapping[str, Any], *, changes: bool
) -> tuple[Run, dict[str, Any]]:
    """The run directory at `path`, and the configuration it is to have once it is resumed.

    Raises `ValueError` where the run there was another, unless `changes` are allowed.
    """
    run = Run.open(path)
    there = run.config
    common = {key: there[key] for key in described.keys() & there.keys() - {"train"}}
    found = differences(common, {key: described[key] for key in common})
    if found and not changes:
        raise ValueError(
            f"{run.path}: {found[0]}; a resumed run keeps its model, data, seed and settings "
            "(allow_changes goes on all the same)"
        )
    return run, {**there, **described, **config}


def create_run(path: str | Path, config: Mapping[str, Any]) -> Run:
    """`Run.create` by the first process; the others wait for it, and fail where it does."""
    error = ""
    if is_first_process():
        try:
            Run.create(path, config)
        except (ValueError, TypeError) as refused:
            error = str(refused)
    if jax.process_count() > 1 and broadcast_one_to_all(np.int32(bool(error))):
        error = error or f"process 0 could not make the run directory {path}"
    if error:
        raise ValueError(error)
    return Run.open(path)


def to_notes(sums: Sums) -> dict[str, Any]:
    """Sums as JSON, exactly, to be kept with a checkpoint."""
    sums = jax.tree.map(lambda leaf: leaf.item(), jax.device_get(sums))
    return {"total": sums.total, "examples": sums.examples, "skips": list(sums.skips)}


def from_notes(notes: Mapping[str, Any], like: Sums) -> Sums:
    """The inverse of `to_notes`; raises `ValueError` for notes of other metrics than `like`."""
    try:
        total = {name: jnp.float32(notes["total"][name]) for name in like.total}
        skips = Skips(*(jnp.int32(number) for number in notes["skips"]))
        return Sums(total, jnp.float32(notes["examples"]), skips)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"the checkpoint was saved with other metrics: {error!r}") from None


def _fingerprint(array: np.ndarray) -> str:
    """Dtype, shape, and a checksum of examples spread over the whole."""
    rows = np.unique(np.linspace(0, len(array) - 1, SAMPLE).astype(np.int64))
    sample = np.ascontiguousarray(array[rows])
    return f"{array.dtype}{list(array.shape)} {zlib.crc32(sample.tobytes()):08x}"
