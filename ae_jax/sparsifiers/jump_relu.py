"""A sparsifier whose latents learn the threshold above which they are active."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import flax.linen as nn
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from ae_jax.core import Term
from ae_jax.ops.thresholds import above, jump_relu
from ae_jax.sparsifiers.code import DenseCode
from ae_jax.sparsifiers.coefficient import Penalized, coefficient_term
from ae_jax.sparsifiers.sparsifier import Context, SparsifierModule, Tables
from ae_jax.spec import require


@dataclass(frozen=True, kw_only=True)
class JumpReLU(Penalized):
    """``z_j = pre_j`` where it exceeds a learned threshold, and a penalty on the number of active
    latents. A kernel estimates the gradient of the thresholds.

    Source: Rajamanoharan et al., Jumping ahead: improving reconstruction fidelity with JumpReLU
    sparse autoencoders, 2024.
    """

    kind: ClassVar[str] = "jump_relu"

    weight: float = 1e-2
    """Of one active latent."""
    threshold: float = 0.01
    """Where the thresholds start."""
    bandwidth: float = 0.01
    """Width of the kernel, in the units of pre-activations. Thresholds learn from activations that
    are within half of it."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("threshold", "bandwidth"):
            value = getattr(self, name)
            if isinstance(value, int | float):  # a sweep's is traced
                require(value > 0, name, value, "must be positive")

    def starts(self) -> Mapping[str, ArrayLike]:
        """See `Sparsifier`."""
        start = self.threshold  # a sweep's is traced
        number = isinstance(start, int | float)
        return {"log_threshold": math.log(start) if number else jnp.log(start)}

    def module(self, width: int) -> nn.Module:
        """See `Sparsifier`."""
        return JumpReLUModule(width, self)

    def terms(self) -> Mapping[str, Term]:
        """The penalty."""
        return {"sparsity": Term(coefficient_term("penalty"))}


class JumpReLUModule(SparsifierModule):
    spec: JumpReLU

    def setup(self) -> None:
        init = nn.initializers.constant(self.spec.starts()["log_threshold"])
        self.log_threshold = self.param("log_threshold", init, (self.width,), jnp.float32)
        self.coefficient = self.spec.coefficient()

    def activate(
        self, pre: Array, tables: Tables, context: Context
    ) -> tuple[DenseCode, dict[str, Any]]:
        threshold = jnp.exp(self.log_threshold)
        code = DenseCode(jump_relu(pre, threshold, self.spec.bandwidth))
        count = above(pre, threshold, self.spec.bandwidth).sum(1)
        return code, {"penalty": count, "coefficient": self.coefficient(code, context)}
