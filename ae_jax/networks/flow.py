"""Flows: invertible networks, with the logarithm of how much they stretch the space.

A step, and a flow of steps, is a module with two methods:

* ``__call__(x, h=None) -> y, log |det dy/dx|``: [..., D] -> [..., D] and [...], in nats;
* ``inverse(y, h=None) -> x, log |det dx/dy|``, the same from the other side, if the step has one.

`h` [..., features] is what the step depends on beside its input, such as an encoder's output.
"""

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from ae_jax.spec import require

BOUND = 3.0
"""The largest absolute log-scale of an affine step."""


class Flow(nn.Module):
    """Steps one after the other. After each the order of the latents is reversed."""

    steps: tuple[nn.Module, ...]

    def __call__(self, x: Array, h: Array | None = None) -> tuple[Array, Array]:
        total = jnp.zeros(x.shape[:-1], jnp.float32)
        for step in self.steps:
            x, log_det = step(x, h)
            x, total = x[..., ::-1], total + log_det
        return x, total

    def inverse(self, y: Array, h: Array | None = None) -> tuple[Array, Array]:
        total = jnp.zeros(y.shape[:-1], jnp.float32)
        for step in reversed(self.steps):
            y, log_det = step.inverse(y[..., ::-1], h)
            total = total + log_det
        return y, total


def check_sizes(steps: int, widths: tuple[int, ...]) -> None:
    """Raises `ValueError` unless a flow has a step, and each step's network a hidden layer."""
    require(steps >= 1, "steps", steps, "must be at least 1")
    ok = len(widths) > 0 and all(width >= 1 for width in widths)
    require(ok, "widths", widths, "must have at least one entry, each at least 1")


def bounded(log_scale: Array) -> Array:
    """About `log_scale` where it is small, and never beyond +-BOUND: the inverse stays finite."""
    return BOUND * jnp.tanh(log_scale / BOUND)


def log_det_of(log_scale: Array) -> Array:
    """The sum over latents, in float32: [..., D] -> [...]."""
    return log_scale.sum(-1, dtype=jnp.float32)
