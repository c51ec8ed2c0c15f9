"""Losses on plain arrays: jitted, differentiable, one value per example.

Conventions, the same for every function here:

* Inputs are ``[B, ...]``: a batch axis, then any number of *event* axes.
* The result is ``[B]`` float32 (of `sparsity_kl`, a statistic of the batch, a scalar).
  ``reduction="sum"`` (the default) adds up the event axes: nats per example, what an ELBO needs.
  ``reduction="mean"`` averages them: the per-pixel figure that Keras
  reports. The mean over the batch is left to the caller (`batch_mean`).
* ``where`` (boolean, broadcastable to the input) masks elements, and equals slicing them away: they
  enter neither the sum nor the count, and whatever they hold (NaN too) reaches no gradient. An
  example with no element left has the loss 0.
* The `x` of discrete losses are whole numbers as they are, in any dtype: counts, or levels 0..255.
* Arithmetic is in float32 whatever comes in, bfloat16 included.
* Shapes are never broadcast silently: a mismatch raises `ValueError` naming both.
* Bounds of several samples read log weights ``[K, B]``: samples are the leading axis.

This module needs only jax, so it can be imported on its own.
"""

from ae_jax.losses.bounds import (
    doubly_reparametrized,
    importance_bound,
    normalized_weights,
    scaled_path,
    vimco_signal,
    with_score,
)
from ae_jax.losses.counts import beta_binomial_nll, negative_binomial_nll, poisson_nll
from ae_jax.losses.divergences import gaussian_kl
from ae_jax.losses.elementwise import (
    bce,
    continuous_bernoulli_nll,
    gaussian_nll,
    huber,
    mae,
    mse,
)
from ae_jax.losses.levels import categorical_nll, discretized_logistic_mixture_nll
from ae_jax.losses.reduction import Reduction, batch_mean
from ae_jax.losses.sparsity import l1_sparsity, sparsity_kl

__all__ = [
    "Reduction",
    "batch_mean",
    "bce",
    "beta_binomial_nll",
    "categorical_nll",
    "continuous_bernoulli_nll",
    "discretized_logistic_mixture_nll",
    "doubly_reparametrized",
    "gaussian_kl",
    "gaussian_nll",
    "huber",
    "importance_bound",
    "l1_sparsity",
    "mae",
    "mse",
    "negative_binomial_nll",
    "normalized_weights",
    "poisson_nll",
    "scaled_path",
    "sparsity_kl",
    "vimco_signal",
    "with_score",
]
