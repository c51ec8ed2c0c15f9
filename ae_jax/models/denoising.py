"""Denoising autoencoders: reconstruct the clean input from a corrupted one, on any network."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from ae_jax.core import Outputs
from ae_jax.models.deterministic import Vanilla
from ae_jax.spec import require

Noise = Literal["gaussian", "masking", "salt_and_pepper", "dropout"]


def corrupt(key: Array, x: Array, *, noise: Noise, level: float | Array) -> Array:
    """`x` [B, ...] in [0, 1] with noise, element by element.

    gaussian: ``clip(x + level * N(0, 1), 0, 1)``. masking: a fraction `level` becomes 0.
    salt_and_pepper: a fraction `level` becomes 0 or 1, evenly. dropout: masking, and the rest is
    divided by ``1 - level`` to keep the mean.

    Source: Vincent et al., Stacked denoising autoencoders, 2010, section 3.3.
    """
    if noise == "gaussian":
        added = level * jax.random.normal(key, x.shape)
        return jnp.clip(x + added.astype(x.dtype), 0.0, 1.0)
    u = jax.random.uniform(key, x.shape)
    if noise == "salt_and_pepper":
        return jnp.where(u < level, (u < level / 2).astype(x.dtype), x)
    kept = jnp.where(u < level, 0.0, x)
    return kept / (1.0 - level) if noise == "dropout" else kept


class DenoisingModule(nn.Module):
    """`inner`, on an input corrupted where the module is given the noise's stream."""

    inner: nn.Module
    noise: Noise
    level: float | Array

    def __call__(self, x: Array, *length: Array) -> Outputs:
        stream = "dropout" if self.noise == "dropout" else "corrupt"
        if self.has_rng(stream):
            x = corrupt(self.make_rng(stream), x, noise=self.noise, level=self.level)
        return self.inner(x, *length)

    def encode(self, x: Array, *length: Array) -> Array:
        return self.inner.encode(x, *length)

    def decode(self, z: Array) -> Outputs:
        return self.inner.decode(z)


@dataclass(frozen=True, kw_only=True)
class Denoising(Vanilla):
    """`Vanilla` with noise on its input; the target stays clean.

    Test figures are on corrupted inputs too, except for ``dropout``, a regularizer, which is off
    then as elsewhere. `encode` and `decode` add no noise: give them the noisy input itself.

    Source: Vincent et al., Extracting and composing robust features with denoising autoencoders,
    2008.
    """

    kind: ClassVar[str] = "denoising"

    noise: Noise = "gaussian"
    level: float = 0.5
    """Standard deviation for gaussian; for the others the fraction of elements."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.level, int | float):  # a sweep's is traced
            require(self.level >= 0, "level", self.level, "must not be negative")
            ok = self.noise == "gaussian" or self.level < 1
            require(ok, "level", self.level, "is a fraction, below 1")

    def make_module(self, event_shape: Sequence[int]) -> nn.Module:
        return DenoisingModule(super().make_module(event_shape), self.noise, self.level)
