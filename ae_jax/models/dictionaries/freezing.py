"""An optimizer that keeps one table of a dictionary as it starts."""

from typing import Any

import jax.numpy as jnp
import optax


def frozen(name: str, tx: optax.GradientTransformation) -> optax.GradientTransformation:
    """`tx`, but the parameter `name` never changes, and `tx` sees no gradient of it.

    Source: Korznikov et al., Sanity checks for sparse autoencoders: do SAEs beat random baselines?,
    2026, for dictionaries with a frozen decoder or encoder as baselines.
    """

    def update(grads: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        grads = {**grads, name: jnp.zeros_like(grads[name])}
        updates, state = tx.update(grads, state, params)
        return {**updates, name: jnp.zeros_like(updates[name])}, state

    return optax.GradientTransformation(tx.init, update)
