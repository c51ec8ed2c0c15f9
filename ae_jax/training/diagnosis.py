"""Diagnose a training that diverged: locate the first value that is not finite."""

import logging
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from ae_jax.core import (
    Autoencoder,
    Batch,
    TrainState,
    by_path,
    compute_loss,
    floats_in,
    loss_name,
    module_columns,
    player_names,
    streams,
    whole_optimizer,
)
from ae_jax.devices.mesh import is_first_process, put, replicated
from ae_jax.storage.runs import Run
from ae_jax.training.plan import Plan
from ae_jax.training.step import scaled_sum, updated

log = logging.getLogger(__name__)


class DivergedError(ArithmeticError):
    """Training stopped: over `max_skips` updates in a row had a NaN or infinite loss, gradient or
    state."""


def diagnosis(plan: Plan, state: TrainState, step: int, run: Run | None) -> DivergedError:
    """Return the error for the update of `step`, which was not applied to `state`.

    The message names the loss term and the first layer that is not finite. The examples of the
    batch are written to ``nonfinite.json`` in the directory of `run`.
    """
    epoch, first = divmod(step, plan.sizes.per_epoch)
    examples = np.asarray(jax.jit(plan.order)(epoch)[first])
    value, terms = None, dict[str, float]()
    try:
        data, index, _ = next(plan.feed.pieces(epoch, first, 1))
        batch = jax.jit(plan.feed.batch_at)(data, np.int32(index))
        state = state.replace(step=put(jnp.int32(step), replicated(plan.mesh)))
        value, terms = first_not_finite(plan.ae, state, batch, plan.tx)
    except Exception as error:  # for example out of memory: the repeated step needs more of it
        log.warning("the step could not be repeated to locate its first bad value: %s", error)
    bad = [name for name in plan.ae.objective if not np.isfinite(terms.get(name, 0.0))]
    problem = " and ".join(f"the term {name!r} is {terms[name]}" for name in bad)
    problem = problem or "its loss, its gradient or its new state was not finite"
    origin = "; its first value that is not finite could not be located"
    if value is not None:
        origin = f"; the first value that is not finite is in {value}"
    saved = ""
    if run is not None:
        saved = f"; its examples are in {run.path / 'nonfinite.json'}"
        report = {"step": step, "epoch": epoch, "first_not_finite": value, "terms": terms}
        if is_first_process():
            run.write_report({**report, "examples": examples[examples >= 0].tolist()})
    # At the first step nothing was learned yet: the data is bad, or what the training starts from.
    learned = step > 0 or (value or "").startswith(("the new parameter", "the new optimizer"))
    remedy = "lower the learning rate, " if learned else "check the initial parameters, "
    return DivergedError(
        f"training stopped at step {step}: {problem}{origin}{saved}; {remedy}repair the data, or "
        "skip such updates (max_skips=N)"
    )


def first_not_finite(
    ae: Autoencoder,
    state: TrainState,
    batch: Batch,
    tx: optax.GradientTransformation | None = None,
) -> tuple[str | None, dict[str, float]]:
    """Return the name of the first value that is not finite, and the loss with its raw terms.

    The step of ``state.step`` is repeated on `batch`, with the update of `tx`. Its values are
    checked in the order of the computation. The name is None if all of them are finite this time:
    with `accumulate`, the noise depends on how the batch is split.
    """
    names: list[str] = []
    order: list[str] = []

    def repeat(state: TrainState, batch: Batch) -> tuple[Array, dict[str, Array]]:
        finite: list[Array] = []

        def note(name: str, tree: Any) -> None:
            leaves = [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf, jnp.inexact)]
            if leaves:
                names.append(name)
                finite.append(jnp.stack([jnp.isfinite(leaf).all() for leaf in leaves]).all())

        batch = floats_in(batch)
        rngs = streams(jax.random.fold_in(state.key, state.step))
        columns = module_columns(ae.columns, batch, state.step)

        def run(params: Any) -> tuple[Array, Any]:
            outputs, collected = ae.apply(
                {"params": params, **state.model_state},
                batch["x"],
                **columns,
                rngs=rngs,
                capture_intermediates=True,
                mutable=["intermediates", *state.model_state],
            )
            _, metrics = compute_loss(ae.objective, outputs, batch, state.step)
            losses = jnp.stack(
                [metrics[loss_name(player)] for player in player_names(ae.objective)]
            )
            # Listed before jax sorts them by name: here they are in the order of computation.
            intermediates = collected.pop("intermediates")
            layers, values = zip(*_outputs(intermediates), strict=True)
            order[:] = layers
            return losses.sum(), (metrics, values, collected)

        note("the batch", batch["x"])
        for path, leaf in by_path(state.params).items():
            note(f"the parameter {path}", leaf)
        for path, leaf in by_path(state.model_state).items():
            note(f"the untrained state {path}", leaf)
        (_, (metrics, outputs, collected)), grads = jax.value_and_grad(run, has_aux=True)(
            state.params
        )
        for path, leaf in zip(order, outputs, strict=True):
            note(f"the output of {path}", leaf)
        for name in ae.objective:
            note(f"the term {name!r}", metrics[name])
        note("the loss", metrics["loss"])
        for path, leaf in by_path(collected).items():
            note(f"the new untrained state {path}", leaf)
        for path, leaf in by_path(grads).items():
            note(f"the gradient of {path}", leaf)
        note("the square of a gradient", scaled_sum(grads))
        if tx is not None:
            new = updated(ae, whole_optimizer(ae, tx), state, grads, collected, batch)
            for path, leaf in by_path(new.opt_state).items():
                leaf = jnp.where(jnp.isinf(leaf), 0.0, leaf) if leaf.ndim == 0 else leaf
                note(f"the new optimizer state {path}", leaf)
            for path, leaf in by_path({**new.params}).items():
                note(f"the new parameter {path}", leaf)
            for path, leaf in by_path({**new.model_state}).items():
                note(f"the new untrained state {path}", leaf)
        return jnp.stack(finite), metrics

    finite, metrics = jax.device_get(jax.jit(repeat)(state, batch))
    bad = np.flatnonzero(~finite)
    first = names[bad[0]] if len(bad) else None
    return first, {name: float(value) for name, value in metrics.items()}


def _outputs(collected: Any, path: str = "") -> list[tuple[str, Any]]:
    """Return the path and the output of each layer, in the order of computation."""
    layers: list[tuple[str, Any]] = []
    own = []
    for name, value in collected.items():
        if name == "__call__":  # the output of the module itself, which returns after its children
            own = [(path or "the model", value)]
        else:
            layers += _outputs(value, f"{path}/{name}" if path else name)
    return layers + own
