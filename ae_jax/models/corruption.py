"""Corruption: noise on the input, which the model learns to remove."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from ae_jax.core import Wrapper
from ae_jax.spec import Spec, require

NoiseKind = Literal["gaussian", "masking", "salt_and_pepper", "dropout"]


@dataclass(frozen=True, kw_only=True)
class Noise(Spec):
    """Noise on the input, in training and in its test rows; see `corrupt` for the kinds.

    ``dropout`` is a regularizer: it is off in test rows.
    """

    kind: ClassVar[str] = "noise"

    noise: NoiseKind = "gaussian"
    level: float = 0.5
    """Standard deviation for gaussian; for the others the fraction of elements."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.level, int | float):  # a sweep's is traced
            require(self.level >= 0, "level", self.level, "must not be negative")
            ok = self.noise == "gaussian" or self.level < 1
            require(ok, "level", self.level, "is a fraction, below 1")

    def wrap(self, module: nn.Module, *, clip: bool) -> nn.Module:
        """`module` on a corrupted input; with `clip`, one that stays in [0, 1]."""
        return Corrupted(module, self.noise, self.level, clip)


class Corrupted(Wrapper):
    """`inner`, on an input that is corrupted where the noise's stream is given.

    The corrupted input is then among the outputs, as ``"corrupted"``.
    """

    noise: NoiseKind
    level: float | Array
    clip: bool

    def __call__(self, x: Array, **columns: Any) -> Any:
        stream = "dropout" if self.noise == "dropout" else "corrupt"
        if self.has_rng(stream):
            key = self.make_rng(stream)
            x = corrupt(key, x, noise=self.noise, level=self.level, clip=self.clip)
            return {**self.inner(x, **columns), "corrupted": x}
        return self.inner(x, **columns)


def corrupt(
    key: Array, x: Array, *, noise: NoiseKind, level: float | Array, clip: bool = True
) -> Array:
    """`x` [B, ...] with noise, element by element.

    gaussian: ``x + level * N(0, 1)``, cut off at 0 and 1 with `clip`. masking: a fraction `level`
    becomes 0. salt_and_pepper: a fraction `level` becomes 0 or 1, evenly. dropout: masking, and the
    rest is divided by ``1 - level`` to keep the mean.

    Source: Vincent et al., Stacked denoising autoencoders, 2010, section 3.3.
    """
    if noise == "gaussian":
        added = x + (level * jax.random.normal(key, x.shape, jnp.float32)).astype(x.dtype)
        return jnp.clip(added, 0.0, 1.0) if clip else added
    u = jax.random.uniform(key, x.shape, jnp.float32)
    if noise == "salt_and_pepper":
        return jnp.where(u < level, (u < level / 2).astype(x.dtype), x)
    kept = jnp.where(u < level, 0.0, x)
    return kept / (1.0 - level) if noise == "dropout" else kept
