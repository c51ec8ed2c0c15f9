"""Describe a run in its configuration, and compare a resumed run with that description."""

import hashlib
import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ae_jax.core import whole_optimizer
from ae_jax.data.fingerprint import fingerprint, require_unchanged
from ae_jax.devices.mesh import is_first_process, refuse_together
from ae_jax.spec import to_dict
from ae_jax.storage.runs import Run, differences
from ae_jax.training.loop import Skips, Sums
from ae_jax.training.plan import Plan
from ae_jax.training.step import make_train_step

log = logging.getLogger(__name__)
COMPARED = ("optimizer", "program")
"""Settings that are digests of traced programs, which depend on the version of jax."""


def describe(plan: Plan) -> dict[str, Any]:
    """Return the part of ``config.json`` that determines the result of a run, and loads it.

    The optimizer is described by a digest of its traced update. A module and an objective without a
    specification are described by a digest of the traced train step.
    """
    ae, state = plan.ae, plan.state
    average = plan.ema_decay
    tx = whole_optimizer(ae, plan.tx)
    assert state is not None
    fit = {
        "batch_size": plan.sizes.part,
        "accumulate": plan.sizes.accumulate,
        "learning_rate": plan.learning_rate,
        "ema_decay": average,
        "optimizer": digest(tx.update, state.params, state.opt_state, state.params),
    }
    if ae.spec is None:
        step = make_train_step(ae, plan.tx, ema_decay=average, accumulate=plan.sizes.accumulate)
        # Of the batch itself, without the rows and the mask that a number of devices adds to it.
        batch = {
            name: jax.ShapeDtypeStruct((plan.sizes.batch_size, *column.shape[1:]), column.dtype)
            for name, column in plan.example_batch().items()
            if name != "mask" or name in plan.train
        }
        like = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), state)
        fit["program"] = digest(step, like, batch)
    sets = {"train": plan.train, "test": plan.eval_data}
    return {
        "model": None if ae.spec is None else to_dict(ae.spec),
        "event_shape": list(ae.event_shape),
        "dtype": str(jnp.dtype(ae.dtype)),
        "train": {"ema_decay": average},
        "seed": plan.seed,
        "fingerprint": {k: fingerprint(data) for k, data in sets.items() if data is not None},
        "fit": fit,
    }


def open_run(
    path: str | Path, described: Mapping[str, Any], config: Mapping[str, Any], *, changes: bool
) -> tuple[Run, dict[str, Any]]:
    """Return the run directory at `path`, and the configuration of the resumed run.

    Raises `ValueError` if the stored description or the data differs from `described`. With
    `changes`, each difference is logged as a warning instead.
    """
    run = Run.open(path)
    old = run.config
    common = {key: old[key] for key in described.keys() & old.keys() - {"train", "fingerprint"}}
    new = {key: described[key] for key in common}
    changed = [d for d in differences(common, new) if not _incomparable(d, common, new)]
    changed.sort(key=_is_digest)  # readable differences first
    if changed and not changes:
        raise ValueError(
            f"{run.path}: {changed[0]}; a resumed run keeps its model, optimizer, data, seed and "
            "settings (to resume anyway use allow_changes=True)"
        )
    for difference in changed:
        log.warning("%s: %s", run.path, difference)
    require_unchanged(run.path, old, described["fingerprint"], allow_changes=changes)
    sets = {**old.get("fingerprint", {}), **described["fingerprint"]}
    return run, {**old, **described, **config, "fingerprint": sets}


def create_run(path: str | Path, config: Mapping[str, Any]) -> Run:
    """Create a run directory in the first process (see `Run.create`); the other processes wait.

    Raises `ValueError` in every process if the first one fails.
    """
    error = ""
    if is_first_process():
        try:
            Run.create(path, config)
        except (ValueError, TypeError) as refused:
            error = str(refused)
    refuse_together(error)
    return Run.open(path)


def to_notes(sums: Sums) -> dict[str, Any]:
    """Return `sums` as JSON-ready data without loss of precision, to store with a checkpoint."""
    sums = jax.tree.map(lambda leaf: leaf.tolist(), jax.device_get(sums))
    return {"total": sums.total, "examples": sums.examples, "skips": list(sums.skips)}


def from_notes(notes: Mapping[str, Any], like: Sums) -> Sums:
    """Return the sums from `to_notes`; raises `ValueError` if `like` has other metrics."""
    try:
        total = {name: jnp.float32(notes["total"][name]) for name in like.total}
        skips = Skips(*(jnp.int32(number) for number in notes["skips"]))
        return Sums(total, jnp.float32(notes["examples"]), skips)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise ValueError(
            f"the checkpoint was saved with other metrics ({error!r}): start a new run"
        ) from None


def _is_digest(difference: str) -> bool:
    return any(difference.startswith(f"fit.{name} ") for name in COMPARED)


def _incomparable(difference: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Return whether two digests differ in their versions, and log a warning if they do."""
    for name in COMPARED:
        pair = [str(config.get("fit", {}).get(name, "")) for config in (old, new)]
        versions = [text.rpartition(" ")[0] for text in pair]
        if difference.startswith(f"fit.{name} ") and versions[0] != versions[1]:
            log.warning(
                "the %s cannot be compared: its digest in the run is from %s, now from %s",
                name,
                versions[0] or "an unknown version",
                versions[1] or "an unknown version",
            )
            return True
    return False


def digest(fn: Any, *args: Any) -> str:
    """Return the version of jax, then a digest of the program that jax traces from `fn`."""
    closed = jax.make_jaxpr(fn)(*args)
    text = re.sub(r"0x[0-9a-f]+", "", str(closed.jaxpr))
    digest = hashlib.sha256(text.encode())
    for const in closed.consts:
        if not jax.dtypes.issubdtype(jnp.result_type(const), jax.dtypes.prng_key):
            digest.update(np.asarray(const).tobytes())
    return f"jax {jax.__version__} {digest.hexdigest()[:16]}"
