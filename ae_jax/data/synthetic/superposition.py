"""Sparse uniform features, for toy models of superposition."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import jax.numpy as jnp
import numpy as np
from jax import Array

from ae_jax.data.synthetic.law import Constants, FeatureSpec, feature_words
from ae_jax.ops.threefry import Pair, uniform
from ae_jax.spec import require


@dataclass(frozen=True)
class Superposition(FeatureSpec):
    """The data of toy models of superposition: x [N] are the features themselves.

    Each of `features` features is 0 with probability `sparsity`, and else uniform in [0, 1]. A
    model with fewer dimensions has to put several features into one. Its loss weights the squared
    error of feature i with `importance()[i]`.

    Raises `ValueError` for numbers that make no law.

    Source: Elhage et al., "Toy Models of Superposition", 2022.
    """

    kind: ClassVar[str] = "superposition"
    features: int = 5
    sparsity: float = 0.9
    decay: float = 1.0
    """Of the importance from each feature to the next: 1 for features of equal importance."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.features >= 1, "features", self.features, "must be at least 1")
        require(0 <= self.sparsity < 1, "sparsity", self.sparsity, "must be in [0, 1)")
        require(0 < self.decay <= 1, "decay", self.decay, "must be in (0, 1]")

    def importance(self) -> np.ndarray:
        """The weight of each feature in the loss, ``decay ** i``: [N] of float32."""
        return (self.decay ** np.arange(self.features)).astype(np.float32)

    def parents(self) -> np.ndarray:
        return np.full(self.features, -1, np.int32)

    def probabilities(self) -> np.ndarray:
        """How often each feature is active: [N] of float64."""
        return np.full(self.features, 1 - self.sparsity)

    def constants(self, key: Array) -> dict[str, Array]:
        count = self.features
        return {
            "features": jnp.eye(count, dtype=jnp.float32),
            "bias": jnp.zeros(count, jnp.float32),
        }

    def draw(self, constants: Constants, key: Pair, *, activations: bool) -> dict[str, Array]:
        words = feature_words(key, jnp.arange(self.features)[None])
        x = jnp.where(uniform(words[0]) < 1 - self.sparsity, uniform(words[1]), 0.0)
        return {"x": x, "activations": x} if activations else {"x": x}
