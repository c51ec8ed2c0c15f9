"""Modules around other modules: noise on the input, more outputs, a head."""

from typing import Any

import flax.linen as nn
from jax import Array


class Wrapper(nn.Module):
    """`inner` with the same interface. A subclass overrides the methods that it changes, or
    `before` and `after`, which every method applies to the input and to outputs.

    It has the optional methods (``log_weight``, ``sample``, ...) that `inner` has: ask with
    `method_of`, not with ``hasattr``.
    """

    inner: nn.Module

    def __call__(self, x: Array, **columns: Any) -> Any:
        return self.after(self.inner(self.before(x), **columns))

    def before(self, x: Array) -> Array:
        return x

    def after(self, outputs: Any) -> Any:
        return outputs

    def encode(self, x: Array, **columns: Any) -> Any:
        return self.inner.encode(self.before(x), **columns)

    def decode(self, latents: Any, **given: Any) -> Any:
        return self.after(self.inner.decode(latents, **given))

    def features(self, x: Array, **columns: Any) -> Any:
        return self.inner.features(self.before(x), **columns)

    def log_weight(self, x: Array, **columns: Any) -> Any:
        return self.inner.log_weight(self.before(x), **columns)

    def posterior_kl(self, x: Array, **columns: Any) -> Any:
        return self.inner.posterior_kl(self.before(x), **columns)

    def prior_quantile(self, u: Array) -> Any:
        return self.inner.prior_quantile(u)

    def geodesic(self, a: Any, b: Any, t: Any) -> Any:
        return self.inner.geodesic(a, b, t)

    def sample(self, n: int, **given: Any) -> Any:
        return self.after(self.inner.sample(n, **given))

    def sample_from(self, latents: Any, level: int) -> Any:
        return self.after(self.inner.sample_from(latents, level))


def method_of(module: nn.Module, name: str) -> Any:
    """The method `name` of a module; None if the module, or the one that it wraps, lacks it."""
    method = getattr(module, name, None)
    inherited = isinstance(module, Wrapper) and getattr(type(module), name, None) is getattr(
        Wrapper, name, None
    )
    return method_of(module.inner, name) and method if inherited else method
