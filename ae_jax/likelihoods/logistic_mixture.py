"""A mixture of discretized logistics, for 8-bit pixels and colors."""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
from jax import Array

from ae_jax import losses
from ae_jax.likelihoods.levels import Levels, levels_of
from ae_jax.losses.levels import LEAST_LOG_SCALE, color_parameters, scaled
from ae_jax.spec import require


@dataclass(frozen=True, kw_only=True)
class DiscretizedLogisticMixture(Levels):
    """A mixture of discretized logistics for each pixel (see the loss of this name).

    In images [H, W, 3] a pixel's three channels share a component, and green depends on red, blue
    on red and green: 10 numbers per component. Elsewhere each element has its own mixture: 3
    numbers per component.

    Source: Salimans et al., PixelCNN++, 2017.
    """

    kind: ClassVar[str] = "discretized_logistic_mixture"
    couples_channels: ClassVar[bool] = True

    components: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.components >= 1, "components", self.components, "must be at least 1")

    def params_shape(self, event_shape: tuple[int, ...]) -> tuple[int, ...]:
        """[H, W, 10, K] for images [H, W, 3], otherwise [..., 3, K]."""
        if len(event_shape) == 3 and event_shape[-1] == 3:
            return (*event_shape[:2], 10, self.components)
        return (*event_shape, 3, self.components)

    def nll(self, params: Array, x: Array, where: Array | None = None) -> Array:
        return losses.discretized_logistic_mixture_nll(params, levels_of(x), where=where)

    def mean(self, params: Array) -> Array:
        """That of logistics cut off at 0 and 1, each channel at the mean of those before it.

        It is within half a level of the exact mean for single elements. For colors it takes no
        account of the spread of the channels before, which matters only at 0 and 1.
        """
        if params.shape[-2] == 3:
            logits, means, log_scales = (params[..., i, :] for i in range(3))
            return _unit((jax.nn.softmax(logits) * _cut_off_mean(means, log_scales)).sum(-1))
        weights, each = jax.nn.softmax(params[..., 0, :]), jnp.zeros_like(params[..., 1:4, :])
        for channel in range(3):
            _, means, log_scales = color_parameters(params, each)
            of_channel = _cut_off_mean(means[..., channel, :], log_scales[..., channel, :])
            each = each.at[..., channel, :].set(of_channel)
        return _unit((weights[..., None, :] * each).sum(-1))

    def sample(self, key: Array, params: Array) -> Array:
        """A component, then its channels one after another."""
        of_component, of_value = jax.random.split(key)
        chosen = jax.random.categorical(of_component, params[..., 0, :])
        params = jnp.take_along_axis(params, chosen[..., None, None], axis=-1)
        colors = params.shape[-2] == 10
        shape = (*params.shape[:-2], 3) if colors else params.shape[:-2]
        noise = jax.random.logistic(of_value, shape, jnp.float32)
        if not colors:
            return _unit(_draw(noise, params[..., 1, 0], params[..., 2, 0]))
        drawn = jnp.zeros(shape)
        for channel in range(3):
            _, means, log_scales = color_parameters(params, drawn[..., None])
            means, log_scales = means[..., channel, 0], log_scales[..., channel, 0]
            drawn = drawn.at[..., channel].set(_draw(noise[..., channel], means, log_scales))
        return _unit(drawn)


def _unit(x: Array) -> Array:
    """-1 to 1 -> 0 to 1."""
    return (x + 1.0) / 2


def _draw(noise: Array, mean: Array, log_scale: Array) -> Array:
    """The level nearest to ``mean + scale * noise``, on the scale from -1 to 1."""
    x = mean + jnp.exp(jnp.maximum(log_scale, LEAST_LOG_SCALE)) * noise
    return scaled(levels_of(_unit(jnp.clip(x, -1.0, 1.0))))


def _cut_off_mean(mean: Array, log_scale: Array) -> Array:
    """The mean of a logistic variable that is cut off at -1 and 1:
    ``s (log cosh((mean + 1) / 2 s) - log cosh((mean - 1) / 2 s))``."""
    scale = jnp.exp(jnp.clip(log_scale, LEAST_LOG_SCALE, 5.0))

    def log_cosh(a: Array) -> Array:
        return jnp.abs(a) + jnp.log1p(jnp.exp(-2 * jnp.abs(a)))  # + log 2

    difference = log_cosh((mean + 1) / (2 * scale)) - log_cosh((mean - 1) / (2 * scale))
    return jnp.clip(scale * difference, -1.0, 1.0)
