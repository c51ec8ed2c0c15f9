"""Penalties for few active latents."""

from functools import partial

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from ae_jax.losses.reduction import Reduction, batch_mean, elements, floats, reduce, with_value


@partial(jax.jit, static_argnames="reduction")
def l1_sparsity(
    z: ArrayLike, *, reduction: Reduction = "sum", where: ArrayLike | None = None
) -> Array:
    """L1 norm of each code, ``sum_j |z_j|`` (or the mean over units): ``[B, ...] -> [B]``."""
    (z,), mask = elements({"z": z}, where=where)
    return reduce(jnp.abs(z), reduction, mask)


@partial(jax.jit, static_argnames="axis_name")
def sparsity_kl(
    activations: ArrayLike,
    target: ArrayLike,
    *,
    where: ArrayLike | None = None,
    axis_name: str | None = None,
) -> Array:
    """KL(Bernoulli(target) || Bernoulli(mean activation)) in nats, summed over units: a scalar.

    Args:
      activations: ``[B, ...]`` in [0, 1] (sigmoid units).
      target: the wanted mean activation of every unit, in (0, 1).
      where: ``[B]``, which rows are real; the mean activation is taken over these.
      axis_name: the mapped axis the batch is split over (pmap, shard_map), to average over all of
        it. As in `batch_mean`, average the gradients over that axis too.

    Source: Ng, CS294A lecture notes, Sparse autoencoder, 2011, section 3.
    """
    activations = floats(activations, "activations")
    mean = batch_mean(activations, where=where, axis_name=axis_name)
    # Dead and saturated units: a finite value, and a gradient that brings them back.
    mean = with_value(mean, jnp.clip(mean, 1e-7, 1.0 - 1e-7))
    target = jnp.asarray(target, jnp.float32)
    kl = target * jnp.log(target / mean) + (1 - target) * jnp.log((1 - target) / (1 - mean))
    return kl.sum()
