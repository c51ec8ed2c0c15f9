"""A sparsifier that selects latents one after another, each for what is still unexplained."""

from dataclasses import dataclass
from typing import Any, ClassVar

import flax.linen as nn
import jax.numpy as jnp
from jax import Array, lax

from ae_jax.sparsifiers.code import SparseCode
from ae_jax.sparsifiers.sparsifier import Context, Counted, SparsifierModule, Tables


@dataclass(frozen=True, kw_only=True)
class MatchingPursuit(Counted):
    """k times, the latent whose direction agrees best with what is left of x is subtracted from it.

    The decoder is the encoder as well: the dictionary must be tied and of unit norm. A latent may
    be selected again, and then counts again in the number of active ones.

    Source: Mallat & Zhang, Matching pursuits with time-frequency dictionaries, 1993; Costa et al.,
    From flat to hierarchical: extracting sparse representations with matching pursuit, 2025.
    """

    kind: ClassVar[str] = "matching_pursuit"
    biased: ClassVar[bool] = False
    refinable: ClassVar[bool] = False

    def module(self, width: int) -> nn.Module:
        """See `Sparsifier`."""
        return MatchingPursuitModule(width, self.active)


class MatchingPursuitModule(SparsifierModule):
    k: int

    def __call__(
        self, x: Array, tables: Tables, context: Context
    ) -> tuple[SparseCode, dict[str, Any]]:
        directions = tables.decoder

        def one(rest: Array, _: None) -> tuple[Array, tuple[Array, Array]]:
            products = lax.dot_general(rest, directions, (((1,), (1,)), ((), ())))
            index = lax.stop_gradient(products).argmax(1)
            direction = directions[index]
            value = jnp.maximum((rest * direction).sum(1), 0.0)
            return rest - value[:, None] * direction, (value, index)

        _, (values, indices) = lax.scan(one, x, None, length=self.k)
        return SparseCode(values.T, indices.T), {}
