"""Laws of data with known features: x = a F + b with sparse activations a."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from ae_jax.data.generated import Generated
from ae_jax.ops.threefry import Pair, key_of, threefry
from ae_jax.spec import Spec, require, to_dict

Constants = Mapping[str, Array]
_LARGEST_SEED = 2**32


class FeatureSpec(Spec):
    """Base of specifications of laws. A subclass has `constants`, `draw` and maybe `parents`."""

    def constants(self, key: Array) -> dict[str, Array]:
        """The arrays of a law, drawn with `key`; among them "features" [N, d] and "bias" [d]."""
        raise NotImplementedError

    def draw(self, constants: Constants, key: Pair, *, activations: bool) -> dict[str, Array]:
        """Rows with the keys `key`, two arrays [B] of uint32: "x" [B, d] and, on request,
        "activations" [B, N]. A row depends on its own key only."""
        raise NotImplementedError

    def parents(self) -> np.ndarray:
        """The parent of each feature, without which it is silent, or -1: [N] of int32."""
        raise NotImplementedError

    def build(self, seed: int = 42) -> Law:
        """The law with the constants of a seed 0 .. 2^32 - 1; raises `ValueError` for another."""
        _require_seed(seed)
        key = jax.random.key(seed, impl="threefry2x32")
        return Law(self, int(seed), jax.jit(self.constants)(key))


@dataclass(frozen=True, eq=False)
class Law:
    """A law with its constants: ``x = a F + b``, where a is a pure function of (seed, row)."""

    spec: FeatureSpec
    seed: int
    """Of the constants."""
    constants: dict[str, Array]

    @property
    def features(self) -> Array:
        """The true directions F, one a row: [N, d]."""
        return self.constants["features"]

    @property
    def bias(self) -> Array:
        """The bias b: [d]."""
        return self.constants["bias"]

    @property
    def parents(self) -> np.ndarray:
        """The parent of each feature, without which it is silent, or -1: [N] of int32."""
        return self.spec.parents()

    def data(
        self, length: int, *, seed: int = 0, activations: bool = False, fresh: bool = True
    ) -> Generated:
        """Rows of the law, for `ae_jax.training.fit` and for ground-truth metrics.

        Args:
          length: rows in an epoch.
          seed: of the draws, 0 .. 2^32 - 1. Another seed gives independent rows of the same law,
            for tests.
          activations: add the column "activations" [N] with the true activations. They are not
            stored: read them chunk by chunk.
          fresh: whether each epoch has new rows (see `Generated.fresh`).

        Raises:
          ValueError: `length` or `seed` is out of range.
        """
        _require_seed(seed)
        return Generated(
            partial(_rows, self.spec, activations),
            length,
            arrays=(np.uint32(seed), self.constants),
            identity={"law": to_dict(self.spec), "seed": self.seed, "draws": int(seed)},
            fresh=fresh,
        )


def feature_words(key: Pair, feature: Array) -> Pair:
    """Two random words for each row's features, of numbers broadcast to [B, ...].

    Every feature of a row has its own words, so which others are drawn changes nothing.
    """
    first, second = (half.reshape(-1, *[1] * (feature.ndim - 1)) for half in key)
    return threefry((first, second), (feature, 1))


def row_words(key: Pair, count: int) -> Array:
    """`count` words for each row that no feature has: [B, count]."""
    return threefry((key[0][:, None], key[1][:, None]), (jnp.arange(count), 2))[0]


def _rows(
    spec: FeatureSpec, activations: bool, arrays: tuple[Array, Constants], rows: Array
) -> dict[str, Array]:
    seed, constants = arrays
    return spec.draw(constants, threefry(key_of(seed), (rows, 0)), activations=activations)


def _require_seed(seed: int) -> None:
    ok = isinstance(seed, int | np.integer) and 0 <= seed < _LARGEST_SEED
    require(ok, "seed", seed, "must be an integer in [0, 2**32)")
