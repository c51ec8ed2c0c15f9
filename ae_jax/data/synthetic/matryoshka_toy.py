"""A toy of feature absorption: parents with exclusive children, in orthogonal directions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from ae_jax.data.synthetic.directions import PRECISE
from ae_jax.data.synthetic.law import Constants, FeatureSpec, feature_words
from ae_jax.data.synthetic.tree import Forest
from ae_jax.ops.threefry import Pair, uniform
from ae_jax.spec import require


@dataclass(frozen=True)
class MatryoshkaToy(FeatureSpec):
    """The toy model of the Matryoshka sparse autoencoder: 20 features by default.

    Each of `groups` parents is active with probability `parent`. An active parent has one of its
    `children` active with probability `child` each, and none otherwise. The other features are
    active with probability `alone`. An active feature has the activation 1. Feature i points in the
    i-th of orthonormal random directions, in `features` dimensions, with a length drawn from
    N(1, `scale`^2). Parents come first, then the children of the first parent, and so on.

    The probabilities are those of the published tree, with which 1.12 features are active on
    average. The published runs tune their autoencoders to 1.2338 active latents; that is the mean
    of the features with `alone` = 0.064225.

    Raises `ValueError` for numbers that make no law.

    Source: Nabeshima, "Matryoshka Sparse Autoencoders", 2024, and its program.
    """

    kind: ClassVar[str] = "matryoshka_toy"
    features: int = 20
    groups: int = 3
    children: int = 3
    parent: float = 0.15
    child: float = 0.2
    alone: float = 0.05
    scale: float = 0.05

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("parent", "child", "alone"):
            value = getattr(self, name)
            require(0 <= value <= 1, name, value, "must be in [0, 1]")
        require(
            self.children * self.child <= 1 + 1e-6,
            "child",
            self.child,
            f"must be at most 1 / {self.children}, because {self.children} children exclude "
            "each other",
        )
        for name in ("groups", "children"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "must be at least 1")
        require(self.scale >= 0, "scale", self.scale, "must be at least 0")
        size = self.forest.size
        needs = f"the parents and their children are {size}: use at least as many"
        require(self.features >= size, "features", self.features, needs)

    @property
    def forest(self) -> Forest:
        """The parents and their children; their features come first."""
        return Forest(self.groups, self.children, 1)

    def parents(self) -> np.ndarray:
        return self.forest.parents(self.features)

    def probabilities(self) -> np.ndarray:
        """How often each feature is active: [N] of float64."""
        return np.repeat(
            [self.parent, self.parent * self.child, self.alone],
            [self.groups, self.forest.width(1), self.features - self.forest.size],
        )

    def constants(self, key: Array) -> dict[str, Array]:
        of_directions, of_scale = jax.random.split(key)
        count = self.features
        directions = jax.random.orthogonal(of_directions, count, dtype=jnp.float32)
        lengths = 1 + self.scale * jax.random.normal(of_scale, (count, 1), jnp.float32)
        return {"features": lengths * directions, "bias": jnp.zeros(count, jnp.float32)}

    def draw(self, constants: Constants, key: Pair, *, activations: bool) -> dict[str, Array]:
        count, size = self.groups, self.forest.size
        first, second = (uniform(w) for w in feature_words(key, jnp.arange(self.features)[None]))
        parent = first[:, :count] < self.parent
        # The unit interval has a piece of length `child` for each child, and the rest for none.
        chosen = jnp.floor(second[:, :count, None] / max(self.child, 1e-30))
        child = parent[..., None] & (chosen == jnp.arange(self.children))
        alone = first[:, size:] < self.alone
        a = jnp.concatenate([parent, child.reshape(len(parent), -1), alone], 1).astype(jnp.float32)
        x = jnp.matmul(a, constants["features"], precision=PRECISE) + constants["bias"]
        return {"x": x, "activations": a} if activations else {"x": x}
