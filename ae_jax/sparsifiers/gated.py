"""A sparsifier with a gate that decides whether a latent is active, apart from how much."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from ae_jax.core import Batch, Term
from ae_jax.sparsifiers.code import DenseCode
from ae_jax.sparsifiers.coefficient import Penalized, coefficient_term
from ae_jax.sparsifiers.sparsifier import Context, SparsifierModule, Tables, sizes_of


@dataclass(frozen=True, kw_only=True)
class Gated(Penalized):
    """``z_j = relu(exp(r_j) w_j.x + b_j)`` where the gate ``w_j.x + c_j`` is positive.

    The L1 penalty is on the gate alone, so that magnitudes do not shrink. An auxiliary error, of
    what the gate's positive part reconstructs with a fixed decoder, trains the gate.

    Source: Rajamanoharan et al., Improving dictionary learning with gated sparse autoencoders,
    2024, equation 8.
    """

    kind: ClassVar[str] = "gated"
    refinable: ClassVar[bool] = False

    weight: float = 1e-2

    def starts(self) -> Mapping[str, float]:
        """See `Sparsifier`."""
        return {"log_scale": 0.0, "magnitude_bias": 0.0}

    def module(self, width: int) -> nn.Module:
        """See `Sparsifier`."""
        return GatedModule(width, self)

    def terms(self) -> Mapping[str, Term]:
        """The penalty and the auxiliary error."""
        return {"sparsity": Term(coefficient_term("penalty")), "gate_error": Term(_gate_error)}


class GatedModule(SparsifierModule):
    spec: Gated

    def setup(self) -> None:
        zeros = nn.initializers.zeros
        self.log_scale = self.param("log_scale", zeros, (self.width,), jnp.float32)
        self.magnitude_bias = self.param("magnitude_bias", zeros, (self.width,), jnp.float32)
        self.coefficient = self.spec.coefficient()

    def activate(
        self, pre: Array, tables: Tables, context: Context
    ) -> tuple[DenseCode, dict[str, Any]]:
        magnitude = jnp.exp(self.log_scale) * (pre - tables.bias) + self.magnitude_bias
        code = DenseCode(jnp.where(pre > 0, jax.nn.relu(magnitude), 0.0))
        gate = jax.nn.relu(pre)
        return code, {
            "gate": gate,
            "penalty": sizes_of(gate, tables).sum(1),
            "coefficient": self.coefficient(code, context),
        }


def _gate_error(outputs: Any, batch: Batch) -> Array:
    return jnp.square(outputs["gate_error"]).sum(1)
