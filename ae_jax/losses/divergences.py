"""Divergences between distributions of latents."""

from functools import partial

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from ae_jax.losses.reduction import Reduction, elements, exp_linear, reduce
from ae_jax.losses.special import exp_minus_tangent


@partial(jax.jit, static_argnames="reduction")
def gaussian_kl(
    mean: ArrayLike,
    logvar: ArrayLike,
    prior_mean: ArrayLike = 0.0,
    prior_logvar: ArrayLike = 0.0,
    *,
    reduction: Reduction = "sum",
    where: ArrayLike | None = None,
) -> Array:
    """KL(N(mean, exp(logvar)) || N(prior_mean, exp(prior_logvar))) in nats, diagonal Gaussians.

    ``[B, ...], [B, ...], broadcastable, broadcastable -> [B]``. Never negative, and accurate also
    where the two nearly agree (a collapsed unit). Extreme variances: as in `gaussian_nll`.
    Source: Kingma & Welling, Auto-Encoding Variational Bayes, 2014, appendix B.
    """
    (mean, logvar, prior_mean, prior_logvar), mask = elements(
        {"mean": mean, "logvar": logvar},
        {"prior_mean": prior_mean, "prior_logvar": prior_logvar},
        where=where,
    )
    squared = jnp.square(mean - prior_mean) * exp_linear(-prior_logvar)
    return reduce(0.5 * (exp_minus_tangent(logvar - prior_logvar) + squared), reduction, mask)
