"""The law of SynthSAEBench: activations with a hierarchy of correlated features.

Source: SynthSAEBench, whose published configuration and generator (SAELens, MIT) give the recipe;
this is its second version, in which children scale with their parents.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from scipy.special import ndtri

from ae_jax.data.synthetic.directions import PRECISE, orthogonalized, unit_rows
from ae_jax.data.synthetic.law import Constants, FeatureSpec, feature_words, row_words
from ae_jax.data.synthetic.tree import Forest
from ae_jax.ops.threefry import Pair, normal, uniform
from ae_jax.spec import require

SLOTS = 32
"""Active features without a parent that are worked on at a time."""
_LEAST_NOISE = 0.01  # of the variance of each feature's normal number


@dataclass(frozen=True)
class SynthSAE(FeatureSpec):
    """The law of SynthSAEBench; the defaults are its 16k size.

    1. Features: `features` unit vectors in `dim` dimensions, nearly orthogonal (see
       `orthogonalized`), and a bias of norm `bias`.
    2. Base probabilities by rank r = 1 .. N: ``r ** -exponent``, mapped linearly onto
       [`least`, `most`].
    3. A forest in breadth-first order: `roots` trees with `children` children at each node and
       `depth` levels below the root. A child is silent without its parent, siblings exclude each
       other, and probabilities under an active parent make up for both (`Forest.conditional`).
    4. A Gaussian copula: feature i fires if ``eps . F_i + eta_i sqrt(1 - |F_i|^2)`` exceeds the
       normal quantile of ``1 - p_i``, with eps of `rank` and eta_i standard normal; the entries of
       F are drawn from N(0, `correlation`^2). A row F_i with |F_i|^2 > .99 is shortened to that.
    5. Magnitudes ``relu(N(m_i, s_i))``: m_i falls linearly from `first_mean` to `last_mean`; s_i is
       drawn as ``|N(spread, spread)|``.
    6. Level by level: of several siblings that fire, one at random stays. Its magnitude is
       multiplied by that of its parent over the parent's m.

    Given eps, features fire independently. So children are drawn only under an active parent, which
    is the same law: the words that decide on a feature do not depend on what else is drawn.

    Raises `ValueError` for numbers that make no law.
    """

    kind: ClassVar[str] = "synth_sae"
    features: int = 16384
    dim: int = 768
    roots: int = 128
    children: int = 4
    depth: int = 3
    rank: int = 25
    correlation: float = 0.1
    most: float = 0.4
    least: float = 5e-4
    exponent: float = 0.5
    first_mean: float = 5.0
    last_mean: float = 4.0
    spread: float = 0.5
    bias: float = 0.5
    steps: int = 100
    learning_rate: float = 3e-4

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.features >= 2, "features", self.features, "must be at least 2")
        for name in ("dim", "children"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "must be at least 1")
        for name in ("roots", "depth", "rank", "correlation", "spread", "bias", "steps"):
            require(getattr(self, name) >= 0, name, getattr(self, name), "must be at least 0")
        for name in ("exponent", "first_mean", "last_mean", "learning_rate"):
            require(getattr(self, name) > 0, name, getattr(self, name), "must be positive")
        require(0 < self.least <= self.most, "least", self.least, f"must be in (0, {self.most}]")
        require(self.most < 1, "most", self.most, "must be below 1")
        size = self.forest.size
        needs = f"the trees have {size} features: use at least as many, or fewer roots"
        require(size <= self.features, "features", self.features, needs)

    @property
    def forest(self) -> Forest:
        """The trees; their features come first."""
        return Forest(self.roots, self.children, self.depth)

    def parents(self) -> np.ndarray:
        return self.forest.parents(self.features)

    def base_probabilities(self) -> np.ndarray:
        """How often each feature would fire without a hierarchy: [N] of float64."""
        powers = np.arange(1, self.features + 1) ** -self.exponent
        low, high = powers.min(), powers.max()
        return self.least + (self.most - self.least) * (powers - low) / (high - low)

    def conditional_probabilities(self) -> np.ndarray:
        """How often each feature fires under an active parent, or without one, before siblings
        exclude each other: [N] of float64."""
        return self.forest.conditional(self.base_probabilities())

    def constants(self, key: Array) -> dict[str, Array]:
        of_features, of_bias, of_factor, of_spread = jax.random.split(key, 4)
        count, dim = self.features, self.dim
        bias = jax.random.normal(of_bias, (1, dim), jnp.float32)
        factor = self.correlation * jax.random.normal(of_factor, (count, self.rank), jnp.float32)
        squares = jnp.square(factor).sum(1, keepdims=True)
        factor *= jnp.sqrt(jnp.minimum(1, (1 - _LEAST_NOISE) / jnp.maximum(squares, 1e-30)))
        noise = jnp.sqrt(1 - jnp.square(factor).sum(1))
        spread = self.spread * (1 + jax.random.normal(of_spread, (count,), jnp.float32))
        return {
            "features": orthogonalized(
                jax.random.normal(of_features, (count, dim), jnp.float32),
                steps=self.steps,
                learning_rate=self.learning_rate,
            ),
            "bias": self.bias * unit_rows(bias)[0],
            # The noise is drawn with a standard deviation of 1, so both are divided by its own.
            "factor": factor / noise[:, None],
            "threshold": -jnp.asarray(ndtri(self.conditional_probabilities()), jnp.float32) / noise,
            "mean": jnp.linspace(self.first_mean, self.last_mean, count, dtype=jnp.float32),
            "spread": jnp.abs(spread),
        }

    def draw(self, constants: Constants, key: Pair, *, activations: bool) -> dict[str, Array]:
        forest, rows = self.forest, jnp.arange(len(key[0]))[:, None]
        eps = normal(row_words(key, self.rank))  # [B, rank]

        def heads(table: Array) -> Array:
            return jnp.concatenate([table[: self.roots], table[forest.size :]])

        head = jnp.concatenate(
            [jnp.arange(self.roots), jnp.arange(forest.size, self.features)]
        ).astype(jnp.int32)
        shift = jnp.matmul(eps, heads(constants["factor"]).T, precision=PRECISE)  # [B, heads]
        fires = uniform(feature_words(key, head[None])[0])
        fires = fires < _upper_tail(heads(constants["threshold"]) - shift)
        # Scores that are positive where a feature fires, and larger for lower numbers. XLA finds
        # the largest of floats faster than the largest of integers.
        scores = jnp.where(fires, jnp.arange(len(head), 0, -1, dtype=jnp.float32), 0.0)

        def unfinished(carry: Any) -> Array:
            return (carry[0] > 0).any()

        def work(carry: Any) -> Any:
            scores, *sums = carry
            best, slot = lax.top_k(scores, min(SLOTS, len(head)))
            feature = head[slot]  # [B, K]
            value = _magnitude(constants, feature, feature_words(key, feature)[1])
            value = jnp.where(best > 0, value, 0.0)
            sums = _added(constants, sums, rows, feature, value)
            value = jnp.where(feature < self.roots, value, 0.0)
            for level in range(self.depth if self.roots else 0):
                feature, value = self._child(constants, key, eps, level, feature, value)
                sums = _added(constants, sums, rows, feature, value)
            # Not best[:, -1:], with which XLA sorts the scores instead of finding the largest.
            return jnp.where(scores < best.min(1, keepdims=True), scores, 0.0), *sums

        count = len(rows)
        sums = [jnp.broadcast_to(constants["bias"], (count, self.dim))]
        if activations:
            sums.append(jnp.zeros((count, self.features), jnp.float32))
        _, *sums = lax.while_loop(unfinished, work, (scores, *sums))
        return dict(zip(("x", "activations"), sums, strict=False))

    def _child(
        self, constants: Constants, key: Pair, eps: Array, level: int, parent: Array, value: Array
    ) -> tuple[Array, Array]:
        """The child of each active parent, features [B, K] of `level`, with its activation.

        The activation is 0 where the parent's `value` is 0 or no child fires.
        """
        forest, c = self.forest, self.children
        width, first = forest.width(level), forest.first(level + 1)
        within = jnp.clip(parent - forest.first(level), 0, width - 1)

        def under(table: Array) -> Array:  # [N, ...] -> [B, K, c, ...]
            level_below = table[first : first + width * c]
            return level_below.reshape(width, -1)[within].reshape(
                *within.shape, c, *table.shape[1:]
            )

        child = first + within[..., None] * c + jnp.arange(c)  # [B, K, c]
        words = feature_words(key, child)
        shift = jnp.einsum("br,bkcr->bkc", eps, under(constants["factor"]), precision=PRECISE)
        q = _upper_tail(under(constants["threshold"]) - shift)
        size = jax.nn.relu(under(constants["mean"]) + under(constants["spread"]) * normal(words[1]))
        # Where a child fires, u / q is uniform in [0, 1): the least is one of those at random.
        ratio = jnp.where(size > 0, uniform(words[0]) / q, jnp.inf)
        stays = ratio.argmin(-1, keepdims=True)
        ratio, size, child = (
            jnp.take_along_axis(table, stays, -1)[..., 0] for table in (ratio, size, child)
        )
        scale = value / constants["mean"][forest.first(level) + within]
        return child, jnp.where((value > 0) & (ratio < 1), size * scale, 0.0)


def _upper_tail(z: Array) -> Array:
    """The probability that a standard normal number exceeds z."""
    return 0.5 * lax.erfc(z * jnp.float32(0.5**0.5))


def _magnitude(constants: Constants, feature: Array, word: Array) -> Array:
    return jax.nn.relu(constants["mean"][feature] + constants["spread"][feature] * normal(word))


def _added(
    constants: Constants, sums: list[Array], rows: Array, feature: Array, value: Array
) -> list[Array]:
    """``x + value F[feature]`` and, where it is among `sums`, the activations with these values."""
    directions = constants["features"]

    def add(i: Array, x: Array) -> Array:
        return x + value[:, i, None] * directions[feature[:, i]]

    active = (value > 0).any(0)  # [K]; the columns behind the last active one need no work
    columns = jnp.max(jnp.where(active, jnp.arange(1, len(active) + 1), 0))
    added = [lax.fori_loop(0, columns, add, sums[0])]
    return added + [table.at[rows, feature].add(value) for table in sums[1:]]
