"""What an autoencoder is here: a module that maps a batch to outputs, and terms that score them.

    batch -> module -> outputs -> sum_i weight_i(step) * mean over the batch of term_i -> loss

Everything is a pure function of its arguments; whoever calls it applies jit, grad, vmap or pmap.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike, DTypeLike

from ae_jax import losses

Batch = Mapping[str, Array]
"""``"x"``: [B, ...]; optionally ``"label"`` [B], ``"mask"`` [B] (1 = a real row, 0 = padding) and
``"length"`` [B] (real steps of each sequence, for ``x`` [B, T, ...])."""

Outputs = Mapping[str, Array]
"""What a module returns: ``"logits"`` or ``"recon"`` [B, ...] like x, the code ``"z"``, and what
its terms read (``"mean"`` and ``"logvar"`` of a posterior, ...)."""

Variables = Mapping[str, Any]
"""Linen's ``{"params": ..., other collections}``."""

STREAMS = ("latent", "corrupt", "dropout")
"""The kinds of noise a module may draw. It draws only from streams it is given, and without them is
deterministic: ``latent`` (a posterior sample), ``corrupt`` (noise on the input), ``dropout``."""


class Term(NamedTuple):
    """One part of an objective.

    `fn` maps ``(outputs, batch)`` to ``[B]``, one value per example. `weight` multiplies it: a
    number, a traced array (sweeps) or an optax schedule of the step (warm-up). A term of the whole
    batch (``whole_batch=True``) returns a scalar; its `fn` also takes ``axis_name=``, the mapped
    axis that the batch is split over, or None, and heeds ``batch["mask"]`` itself.
    """

    fn: Callable[..., Array]
    weight: float | Array | Callable[[Array], ArrayLike] = 1.0
    whole_batch: bool = False


@dataclass(frozen=True)
class Autoencoder:
    """A variant: a Linen module and an objective.

    `module` has ``__call__(x) -> Outputs``, ``encode(x) -> z`` and ``decode(z) -> Outputs``; with
    sequences of several lengths, ``length`` [B] comes after x. `event_shape` is the shape of one
    example. `spec` is the model specification it was built from (see `ae_jax.models`), or None.
    `unit_interval` says that its data must lie in [0, 1], as a Bernoulli likelihood needs. `dtype`
    is what the module computes in; parameters, outputs, codes and losses are float32 all the same.
    """

    module: nn.Module
    objective: Mapping[str, Term]
    event_shape: tuple[int, ...]
    spec: Any = None
    unit_interval: bool = False
    dtype: DTypeLike = jnp.float32

    def apply(self, variables: Variables, *inputs: Array, **options: Any) -> Any:
        """``module.apply``, computed in `dtype`, with float32 outputs."""
        if self.dtype == jnp.float32:
            return self.module.apply(variables, *inputs, **options)
        variables, inputs = _cast((variables, inputs), jnp.float32, self.dtype)
        outputs = self.module.apply(variables, *inputs, **options)
        return _cast(outputs, self.dtype, jnp.float32)

    def encode(self, variables: Variables, x: ArrayLike, length: Array | None = None) -> Array:
        """Codes of `x` (uint8 pixels, or floats as in training), without noise: [B, ...code].

        Raises `ValueError` if `x` is not ``[B, *event_shape]``.
        """
        x = as_floats(x)
        if x.shape[1:] != self.event_shape:
            event = ", ".join(map(str, self.event_shape))
            raise ValueError(f"x has shape {x.shape}; this model was built for [B, {event}]")
        inputs = (x,) if length is None else (x, length)
        z: Any = self.apply(variables, *inputs, method="encode")
        return z

    def decode(self, variables: Variables, z: ArrayLike) -> Array:
        """Reconstructions of codes `z`, in the units of the data: [B, *event_shape]."""
        outputs: Any = self.apply(variables, jnp.asarray(z), method="decode")
        return reconstruction(outputs)

    def reconstruct(self, variables: Variables, x: ArrayLike, length: Array | None = None) -> Array:
        """``decode(encode(x))``, without noise: [B, *event_shape]."""
        return self.decode(variables, self.encode(variables, x, length))


def _cast(tree: Any, source: DTypeLike, target: DTypeLike) -> Any:
    """`tree` with its arrays of dtype `source` as `target`."""

    def one(leaf: Any) -> Any:
        leaf = jnp.asarray(leaf)
        return leaf.astype(target) if leaf.dtype == source else leaf

    return jax.tree.map(one, tree)


def reconstruction(outputs: Outputs) -> Array:
    """The reconstruction in the units of the data: ``recon``, or ``sigmoid(logits)``."""
    return outputs["recon"] if "recon" in outputs else jax.nn.sigmoid(outputs["logits"])


def as_floats(x: ArrayLike) -> Array:
    """uint8 pixels 0..255 -> float32 in [0, 1]; floats pass through."""
    x = jnp.asarray(x)
    return x.astype(jnp.float32) / 255.0 if x.dtype == jnp.uint8 else x


def event_mask(batch: Batch) -> Array | None:
    """Which elements of ``x`` [B, T, ...] are real: [B, T, 1, ...], or None without ``length``."""
    if "length" not in batch:
        return None
    x, length = batch["x"], batch["length"]
    real = jnp.arange(x.shape[1]) < length[:, None]  # [B, T]
    return real.reshape(real.shape + (1,) * (x.ndim - 2))


def compute_loss(
    objective: Mapping[str, Term],
    outputs: Outputs,
    batch: Batch,
    step: ArrayLike = 0,
    *,
    axis_name: str | None = None,
) -> tuple[Array, dict[str, Array]]:
    """The loss ``sum_i w_i(step) * mean_B(term_i)``, and ``{"loss": ..., each raw term by name}``.

    Terms are averaged over the rows that ``batch["mask"]`` marks as real, those of the whole batch
    are taken as they are. Metrics are unweighted. With `axis_name`, values are those of the global
    batch, and gradients are to be averaged over it (see `losses.batch_mean`).
    """
    raw: dict[str, Array] = {}
    total = jnp.zeros((), jnp.float32)
    for name, term in objective.items():
        if term.whole_batch:
            raw[name] = term.fn(outputs, batch, axis_name=axis_name)
            _check_rank(name, raw[name], 0, "a scalar")
        else:
            values = term.fn(outputs, batch)
            _check_rank(name, values, 1, "[B], one value per example")
            raw[name] = losses.batch_mean(values, where=batch.get("mask"), axis_name=axis_name)
        weight = term.weight(jnp.asarray(step)) if callable(term.weight) else term.weight
        total = total + weight * raw[name]
    return total, {"loss": total, **raw}


def check_accumulation(objective: Mapping[str, Term], parts: int) -> None:
    """Raises `ValueError` if a gradient of this objective cannot be made from so many parts."""
    for name, term in objective.items():
        if parts > 1 and term.whole_batch:
            raise ValueError(
                f"accumulate={parts}: the term {name!r} is of the whole batch, which no part "
                "knows: leave out accumulate, or that term"
            )


def _check_rank(name: str, value: Array, rank: int, needs: str) -> None:
    if value.ndim != rank:
        raise ValueError(f"term {name!r} returned shape {value.shape}; it must be {needs}")
