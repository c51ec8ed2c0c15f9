"""The coefficient of a sparsity penalty: constant, growing at first, or tuned to a number."""

from dataclasses import dataclass
from typing import Any, ClassVar

import flax.linen as nn
import jax.numpy as jnp
from jax import Array, lax

from ae_jax.losses.reduction import batch_mean
from ae_jax.sparsifiers.code import Code
from ae_jax.sparsifiers.sparsifier import Context, Sparsifier
from ae_jax.spec import require


@dataclass(frozen=True, kw_only=True)
class Penalized(Sparsifier):
    """A sparsifier with a penalty, whose coefficient all of them have in common.

    With `target_l0` a factor multiplies the coefficient. It grows while more latents are active
    than that, and shrinks while there are fewer, exponentially: the mean number of active latents
    ends there, whatever `weight` is.
    """

    kind: ClassVar[str] = ""

    weight: float = 1.0
    """The coefficient of the penalty, beside the squared error, summed over elements."""
    warmup_steps: int = 0
    """Steps over which the coefficient grows linearly from 0."""
    target_l0: float | None = None
    """The mean number of active latents that the coefficient is tuned to."""
    tuning_rate: float = 0.01
    """The change of the factor's logarithm at an update, while twice as many latents as
    `target_l0` are active."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.warmup_steps >= 0, "warmup_steps", self.warmup_steps, "must not be negative")
        for name in ("weight", "tuning_rate", "target_l0"):
            value = getattr(self, name)
            if isinstance(value, int | float):  # a sweep's is traced
                require(value > 0, name, value, "must be positive")

    def coefficient(self) -> nn.Module:
        """The module ``(code, context) -> []``."""
        return Coefficient(self.weight, self.warmup_steps, self.target_l0, self.tuning_rate)


class Coefficient(nn.Module):
    weight: float | Array
    warmup_steps: int
    target_l0: float | Array | None
    tuning_rate: float | Array

    @nn.compact
    def __call__(self, code: Code, context: Context) -> Array:
        share = jnp.minimum((context.step + 1.0) / max(self.warmup_steps, 1), 1.0)
        coefficient: Array = jnp.float32(self.weight) * share
        if self.target_l0 is None:
            return coefficient
        log_factor = self.variable("latents", "log_factor", jnp.zeros, (), jnp.float32)
        coefficient = coefficient * jnp.exp(log_factor.value)
        tunes = context.last and not self.is_initializing()
        if self.is_mutable_collection("latents") and tunes:
            active = lax.stop_gradient(code.active())
            l0 = batch_mean(active, where=context.rows, axis_name=context.axis_name)
            excess = jnp.clip(l0 / self.target_l0 - 1.0, -1.0, 1.0)
            log_factor.value += self.tuning_rate * excess
        return coefficient


def coefficient_term(name: str) -> Any:
    """``(outputs, batch) -> [B]``: the penalty `name` of the outputs, times its coefficient."""

    def term(outputs: Any, batch: Any) -> Array:
        penalty: Array = outputs["coefficient"] * outputs[name]
        return penalty

    return term
