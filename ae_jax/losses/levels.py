"""Negative log-probabilities of gray levels and colors: ``x`` = 0, ..., levels - 1.

They are probabilities, not densities: bits per dimension need no dequantization.
"""

import math
from functools import partial

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from ae_jax.losses.reduction import Reduction, elements, floats, reduce

LEAST_LOG_SCALE = -7.0


@partial(jax.jit, static_argnames="reduction")
def categorical_nll(
    logits: ArrayLike, x: ArrayLike, *, reduction: Reduction = "sum", where: ArrayLike | None = None
) -> Array:
    """Negative log-probability in nats of levels `x` under softmax(logits).

    ``[B, ..., levels], [B, ...] -> [B]``.
    """
    logits = floats(logits, "logits")
    (x, mask), shape = _levels(x, where), jnp.shape(x)
    if logits.shape[:-1] != shape:
        raise ValueError(f"logits has shape {logits.shape}, x {shape}: needs [*x, levels]")
    logits = _masked(logits.reshape(*x.shape, -1), mask)
    chosen = jnp.take_along_axis(logits, x.astype(jnp.int32)[..., None], axis=-1)[..., 0]
    return reduce(jax.nn.logsumexp(logits, axis=-1) - chosen, reduction, mask)


@partial(jax.jit, static_argnames=("levels", "reduction"))
def discretized_logistic_mixture_nll(
    params: ArrayLike,
    x: ArrayLike,
    *,
    levels: int = 256,
    reduction: Reduction = "sum",
    where: ArrayLike | None = None,
) -> Array:
    """Negative log-probability in nats of levels `x` under mixtures of K discretized logistics.

    A level is the interval of half a step to either side of it, on a scale from -1 to 1; the first
    and the last one reach to infinity. Scales count as at least e^-7.

    Args:
      params: of single elements [B, ..., 3, K]: logits of the components, their means and log
        scales. Of colors [B, ..., 10, K]: logits of a pixel's components, means, log scales and
        coefficients of its three channels. ``tanh`` of the coefficients times the channels before
        it is added to a channel's mean: red's to green, red's and green's to blue.
      x: [B, ...], or colors [B, ..., 3].
      levels: their number.
      where: as in other losses; of colors, which pixels count: its last axis has length 1.

    Source: Salimans et al., PixelCNN++, 2017, equations 2 and 3.
    """
    params, shape = floats(params, "params"), jnp.shape(x)
    colors = shape[-1] == 3 and params.shape[:-1] == (*shape[:-1], 10)
    if not colors and params.shape[:-1] != (*shape, 3):
        raise ValueError(
            f"params has shape {params.shape}, x {shape}: needs [*x, 3, K], or [B, ..., 10, K] "
            "for colors [B, ..., 3]"
        )
    if colors and where is not None and jnp.shape(where)[-1:] not in ((), (1,)):
        raise ValueError(f"where has shape {jnp.shape(where)}: its last axis is 1 for colors")
    x, mask = _levels(x, where)
    if not colors:
        params = _masked(params.reshape(*x.shape, -1), mask).reshape(*x.shape, *params.shape[-2:])
        logits, means, log_scales = (params[..., i, :] for i in range(3))
        log_prob = _log_prob(x[..., None], means, log_scales, levels)
        return reduce(-_mixed(logits, log_prob), reduction, mask)
    pixels = x.reshape(len(x), -1, 3)
    of_pixel = None if mask is None else mask.reshape(pixels.shape)[..., 0]
    flat = _masked(params.reshape(*pixels.shape[:2], -1), of_pixel)
    pixels = pixels[..., None]
    logits, means, log_scales = color_parameters(
        flat.reshape(*pixels.shape[:2], 10, -1), scaled(pixels, levels)
    )
    log_prob = _log_prob(pixels, means, log_scales, levels).sum(-2)
    nll = -_mixed(logits, log_prob)
    total = reduce(nll, reduction, of_pixel)
    return total / 3 if reduction == "mean" else total


def scaled(x: Array, levels: int = 256) -> Array:
    """Levels on the scale from -1 to 1."""
    return x * (2.0 / (levels - 1)) - 1.0


def color_parameters(params: Array, colors: Array) -> tuple[Array, Array, Array]:
    """Logits [..., K], means and log scales [..., 3, K] from `params` [..., 10, K], given colors
    from -1 to 1, [..., 3, 1] or [..., 3, K]. A mean depends on the channels before it only."""
    logits, means, log_scales = params[..., 0, :], params[..., 1:4, :], params[..., 4:7, :]
    by_red, blue_by_red, blue_by_green = (jnp.tanh(params[..., i, :]) for i in (7, 8, 9))
    red, green = colors[..., 0, :], colors[..., 1, :]
    added = [jnp.zeros_like(by_red), by_red * red, blue_by_red * red + blue_by_green * green]
    return logits, means + jnp.stack(added, axis=-2), log_scales


def _log_prob(x: Array, mean: Array, log_scale: Array, levels: int) -> Array:
    """log P(x) under discretized logistics, with ``s(a) - s(b) = s(a) s(-b) (1 - e^(b - a))``."""
    log_scale = jnp.maximum(log_scale, LEAST_LOG_SCALE)
    half, inverse = 1.0 / (levels - 1), jnp.exp(-log_scale)
    centered = scaled(x, levels) - mean
    below_upper = jax.nn.log_sigmoid((centered + half) * inverse)
    above_lower = jax.nn.log_sigmoid((half - centered) * inverse)
    first, last = x <= 0, x >= levels - 1
    width = 2 * half * inverse
    # log(1 - e^-w) = log w + log((1 - e^-w) / w): log w is exact however small w is.
    wide = jnp.maximum(width, 1e-3)
    log_share = jnp.where(width > 1e-3, jnp.log(-jnp.expm1(-wide) / wide), -width / 2)
    inside = math.log(2 * half) - log_scale + log_share
    return (
        jnp.where(last, 0.0, below_upper)
        + jnp.where(first, 0.0, above_lower)
        + jnp.where(first | last, 0.0, inside)
    )


def _mixed(logits: Array, log_prob: Array) -> Array:
    """[..., K] -> [...]."""
    return jax.nn.logsumexp(jax.nn.log_softmax(logits) + log_prob, axis=-1)


def _levels(x: ArrayLike, where: ArrayLike | None) -> tuple[Array, Array | None]:
    (x,), mask = elements({"x": x}, where=where)
    return x, mask


def _masked(params: Array, mask: Array | None) -> Array:
    """A NaN behind the mask reaches no gradient."""
    return params if mask is None else jnp.where(mask[..., None], params, 0.0)
