"""Objectives: weighted terms of a batch and what a module made of it."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike

from ae_jax import losses
from ae_jax.core.batch import Batch

Outputs = Mapping[str, Any]
"""What a module returns: ``"logits"`` or ``"recon"`` [B, ...] like the target, the latents ``"z"``,
and whatever its terms read (``"mean"`` and ``"logvar"`` of a posterior, ...)."""

Weight = float | Array | Callable[[Array], ArrayLike] | None
"""A number, a traced array (sweeps), an optax schedule of the step, or None: a metric, which is
logged and not differentiated."""


class Term(NamedTuple):
    """One part of an objective, a value for each example.

    ``fn(outputs, batch) -> [B]``. The objective takes its mean over the real rows of the batch,
    times `weight`, as a part of the loss of `player` (see `Autoencoder.players`).
    """

    fn: Callable[[Any, Any], Array]
    weight: Weight = 1.0
    player: str = ""


class BatchTerm(NamedTuple):
    """One part of an objective that is a statistic of the batch: MMD, code usage, activation rate.

    ``fn(outputs, batch, axis_name) -> []``. It ignores the rows where ``batch["mask"]`` is 0, and
    covers the whole batch where that is split over the mapped axis `axis_name` (None: it is not).
    """

    fn: Callable[[Any, Any, str | None], Array]
    weight: Weight = 1.0
    player: str = ""


Objective = Mapping[str, Term | BatchTerm]


def compute_loss(
    objective: Objective,
    outputs: Outputs,
    batch: Batch,
    step: ArrayLike = 0,
    *,
    axis_name: str | None = None,
    player: str = "",
) -> tuple[Array, dict[str, Array]]:
    """The loss of `player` and all metrics: ``sum_i w_i(step) * mean_B(term_i)``.

    Metrics are ``"loss"`` (of the main player), ``"NAME_loss"`` of every other player, and each
    term by name, unweighted. Values are in the units of the terms. With `axis_name` they are those
    of the global batch, and gradients must be averaged over it (see `losses.batch_mean`).

    Raises `ValueError` for a term of a wrong shape, or one that reads what nothing provides.
    """
    raw = {name: _value(name, term, outputs, batch, axis_name) for name, term in objective.items()}
    totals = {name: jnp.zeros((), jnp.float32) for name in player_names(objective)}
    for name, term in objective.items():
        if term.weight is not None:
            weight = term.weight(jnp.asarray(step)) if callable(term.weight) else term.weight
            totals[term.player] = totals[term.player] + weight * raw[name]
    named = {loss_name(name): total for name, total in totals.items()}
    return totals[player], {**named, **raw}


def player_names(objective: Objective) -> tuple[str, ...]:
    """The players of an objective, the main one ("") first."""
    return tuple(dict.fromkeys(["", *(term.player for term in objective.values())]))


def loss_name(player: str) -> str:
    """The metric that is the loss of a player."""
    return f"{player}_loss" if player else "loss"


def metric_names(objective: Objective) -> tuple[str, ...]:
    """The names of the metrics that `compute_loss` returns."""
    return (*map(loss_name, player_names(objective)), *objective)


def check_accumulation(objective: Objective, parts: int) -> None:
    """Raises `ValueError` if `parts` of a batch cannot make the gradient of this objective."""
    for name, term in objective.items():
        if parts > 1 and isinstance(term, BatchTerm):
            raise ValueError(
                f"accumulate={parts}: the term {name!r} is a statistic of the whole batch, which "
                "no part of it knows: remove accumulate, or that term"
            )


def _value(
    name: str, term: Term | BatchTerm, outputs: Outputs, batch: Batch, axis_name: str | None
) -> Array:
    try:
        if isinstance(term, BatchTerm):
            value = jnp.asarray(term.fn(outputs, batch, axis_name))
            needs, ok = "[], a statistic of the batch", value.ndim == 0
        else:
            value = jnp.asarray(term.fn(outputs, batch))
            rows = len(batch["x"])
            needs, ok = f"[{rows}], one value per example", value.shape == (rows,)
    except KeyError as error:
        raise ValueError(
            f"the term {name!r} reads {error}, which neither the module's outputs "
            f"({', '.join(sorted(outputs))}) nor the data ({', '.join(sorted(batch))}) have"
        ) from error
    if not ok:
        raise ValueError(f"term {name!r} returned shape {value.shape}; it must be {needs}")
    if isinstance(term, Term):
        value = losses.batch_mean(value, where=batch.get("mask"), axis_name=axis_name)
    return lax.stop_gradient(value) if term.weight is None else value
