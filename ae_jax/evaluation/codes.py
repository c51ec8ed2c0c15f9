"""What a code's units do over a data set: how active they are, and which of them are dead."""

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from ae_jax.objective import Autoencoder, Variables, as_floats
from ae_jax.spec import require


def code_figures(
    ae: Autoencoder,
    variables: Variables,
    x: ArrayLike,
    *,
    near_zero: float = 1e-3,
    batch_size: int = 1000,
) -> dict[str, float]:
    """How active the code of `x` [N, *event_shape] is. Spatial codes count one unit a position.

    A unit's activation is its absolute value, so that the figures mean the same for linear codes.

    Returns:
      ``mean_activation`` over examples and units; ``dead_units``, the fraction of units that no
      example moves by more than `near_zero` from where another has them (a unit that is always 0,
      or saturated: it says nothing about `x`); ``near_zero_units``, the fraction of units whose
      mean activation is at most `near_zero`; and ``near_zero_activations``, the fraction of all
      single activations that are.

    Raises:
      ValueError: `near_zero` is negative.
    """
    require(near_zero >= 0, "near_zero", near_zero, "must not be negative")

    @jax.jit
    def statistics(variables: Variables, x: Array) -> dict[str, Array]:
        def encode(row: Array) -> Array:
            return jnp.ravel(ae.encode(variables, as_floats(row[None])))

        z = jax.lax.map(encode, x, batch_size=batch_size)
        size = jnp.abs(z)
        return {
            "mean_activation": size.mean(),
            "dead_units": (z.max(0) - z.min(0) <= near_zero).mean(),
            "near_zero_units": (size.mean(0) <= near_zero).mean(),
            "near_zero_activations": (size <= near_zero).mean(),
        }

    return {k: float(v) for k, v in statistics(variables, jnp.asarray(x)).items()}
