"""An optimizer that keeps the rows of a decoder at norm 1."""

from typing import Any

import jax.numpy as jnp
import optax
from jax import Array

NAME = "decoder"


def unit_rows(tx: optax.GradientTransformation) -> optax.GradientTransformation:
    """`tx`, but rows of the parameter ``decoder`` [W, D] stay at norm 1.

    Before it, the part of the gradient along each row is removed: the norm cannot change, so
    neither should Adam's moments see it. After it, rows are divided by their norms.

    Source: Bricken et al., Towards monosemanticity, 2023.
    """

    def update(grads: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        assert params is not None, "unit rows need the parameters: tx.update(grads, state, params)"
        rows, gradient = params[NAME], grads[NAME]
        along = (gradient * rows).sum(1, keepdims=True)
        updates, state = tx.update({**grads, NAME: gradient - along * rows}, state, params)
        return {**updates, NAME: normalized(rows + updates[NAME]) - rows}, state

    return optax.GradientTransformation(tx.init, update)


def normalized(rows: Array) -> Array:
    """Rows [W, D] divided by their norms."""
    norm = jnp.linalg.norm(rows, axis=1, keepdims=True)
    return rows / jnp.where(norm > 0, norm, 1.0)
