"""A sparsifier with an L1 penalty, or a power of the activations that falls from 1."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array, lax

from ae_jax.core import Term
from ae_jax.losses.reduction import batch_mean
from ae_jax.sparsifiers.code import DenseCode
from ae_jax.sparsifiers.coefficient import Penalized, coefficient_term
from ae_jax.sparsifiers.sparsifier import Context, SparsifierModule, Tables, sizes_of
from ae_jax.spec import require

SMALLEST = 1e-6  # the slope of z^p is infinite at 0


@dataclass(frozen=True, kw_only=True)
class L1Sparsifier(Penalized):
    """ReLU activations, with the penalty ``sum_j z_j |d_j|`` of the sizes that latents add.

    With `last_power` below 1 the penalty is ``sum_j (z_j |d_j|)^p``, and p falls linearly from 1 at
    the step `anneal_from` to `last_power` at `anneal_to`, so that it counts latents rather than
    shrinks them. Each batch scales it so that it is as large as with p = 1.

    Source: Bricken et al., Towards monosemanticity, 2023; Conerly et al., Update on how we train
    SAEs, 2024 (norms of the decoder); Karvonen et al., Measuring progress in dictionary learning,
    2024 (p-annealing, whose coefficient is a running one).
    """

    kind: ClassVar[str] = "l1_sparsifier"

    weight: float = 1e-2
    last_power: float = 1.0
    anneal_from: int = 0
    anneal_to: int = 10_000

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.last_power, int | float):  # a sweep's is traced
            require(0 < self.last_power <= 1, "last_power", self.last_power, "must be in (0, 1]")
        needs = f"must be after anneal_from={self.anneal_from}"
        require(self.anneal_to > self.anneal_from >= 0, "anneal_to", self.anneal_to, needs)

    def module(self, width: int) -> nn.Module:
        """See `Sparsifier`."""
        return L1Module(width, self)

    def terms(self) -> Mapping[str, Term]:
        """The penalty."""
        return {"sparsity": Term(coefficient_term("penalty"))}


class L1Module(SparsifierModule):
    spec: L1Sparsifier

    def setup(self) -> None:
        self.coefficient = self.spec.coefficient()

    def activate(
        self, pre: Array, tables: Tables, context: Context
    ) -> tuple[DenseCode, dict[str, Any]]:
        code = DenseCode(jax.nn.relu(pre))
        penalty = self._penalty(sizes_of(code.z, tables), context)
        return code, {"penalty": penalty, "coefficient": self.coefficient(code, context)}

    def _penalty(self, size: Array, context: Context) -> Array:
        spec = self.spec
        if isinstance(spec.last_power, int | float) and spec.last_power == 1.0:
            return size.sum(1)
        share = (context.step - spec.anneal_from) / (spec.anneal_to - spec.anneal_from)
        power = 1.0 + (spec.last_power - 1.0) * jnp.clip(share, 0.0, 1.0)
        active = size > SMALLEST
        powers = jnp.where(active, jnp.where(active, size, 1.0) ** power, 0.0).sum(1)
        both = jnp.stack([size.sum(1), powers], axis=1)
        means = batch_mean(lax.stop_gradient(both), where=context.rows, axis_name=context.axis_name)
        return powers * means[0] / jnp.maximum(means[1], SMALLEST)
