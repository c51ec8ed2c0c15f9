"""An optimizer that skips updates whose gradient is too large."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array, lax
from jax.typing import ArrayLike


class SkippingState(NamedTuple):
    skipped: Array
    """The number of updates that were skipped so far, int32."""
    inner: Any


def skipping_above(tx: optax.GradientTransformation, limit: ArrayLike) -> Any:
    """`tx`, but an update changes nothing if its gradient's norm exceeds `limit` or is not finite.

    The state counts them: ``optax.tree_utils.tree_get(state.opt_state, "skipped")``. Choose a limit
    far above the usual norm: if all gradients are above it, nothing is ever learned.

    Source: Child, Very deep VAEs, 2021, section 4.1.
    """

    def init(params: Any) -> SkippingState:
        return SkippingState(jnp.zeros((), jnp.int32), tx.init(params))

    def update(grads: Any, state: SkippingState, params: Any = None) -> tuple[Any, SkippingState]:
        def updated() -> tuple[Any, SkippingState]:
            updates, inner = tx.update(grads, state.inner, params)
            return updates, SkippingState(state.skipped, inner)

        def unchanged() -> tuple[Any, SkippingState]:
            zeros = jax.tree.map(jnp.zeros_like, grads)
            return zeros, SkippingState(state.skipped + 1, state.inner)

        return lax.cond(_norm(grads) <= limit, updated, unchanged)

    return optax.GradientTransformation(init, update)


def _norm(grads: Any) -> Array:
    return jnp.sqrt(sum((jnp.square(leaf).sum() for leaf in jax.tree.leaves(grads)), jnp.zeros(())))
