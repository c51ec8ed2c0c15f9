"""Directions of features: nearly orthogonal unit vectors, more of them than dimensions."""

import jax.numpy as jnp
import optax
from jax import Array, lax

PRECISE = lax.Precision.HIGHEST
"""Of products of constants and draws: other devices would round their factors to 8 or 11 bits."""


def unit_rows(vectors: Array) -> Array:
    """The rows of [N, d], divided by their Euclidean norms."""
    return vectors / jnp.linalg.norm(vectors, axis=1, keepdims=True)


def overlap(vectors: Array) -> Array:
    """``sum_{i != j} (v_i . v_j)^2 + N sum_i (v_i . v_i - 1)^2`` of N vectors [N, d]: [].

    The first sum is computed from the smaller one of the matrices V V^T and V^T V, whose Frobenius
    norms are equal.
    """
    gram = _gram(vectors)
    squares = jnp.square(vectors).sum(1)
    off = jnp.square(gram).sum() - jnp.square(squares).sum()
    return off + len(vectors) * jnp.square(squares - 1).sum()


def overlap_gradient(vectors: Array) -> Array:
    """The gradient of `overlap`, [N, d], with one product fewer than by differentiation."""
    order = (vectors, _gram(vectors)) if _is_tall(vectors) else (_gram(vectors), vectors)
    product = jnp.matmul(*order, precision=PRECISE)
    squares = jnp.square(vectors).sum(1, keepdims=True)
    return 4 * (product - squares * vectors + len(vectors) * (squares - 1) * vectors)


def orthogonalized(vectors: Array, *, steps: int, learning_rate: float) -> Array:
    """Unit vectors [N, d] after `steps` of Adam on their `overlap`, normalized again."""
    optimizer = optax.adam(learning_rate)
    vectors = unit_rows(vectors)

    def step(_: int, carry: tuple[Array, optax.OptState]) -> tuple[Array, optax.OptState]:
        vectors, state = carry
        updates, state = optimizer.update(overlap_gradient(vectors), state)
        return optax.apply_updates(vectors, updates), state

    vectors, _ = lax.fori_loop(0, steps, step, (vectors, optimizer.init(vectors)))
    return unit_rows(vectors)


def _gram(vectors: Array) -> Array:
    """The smaller one of V^T V and V V^T."""
    pair = (vectors.T, vectors) if _is_tall(vectors) else (vectors, vectors.T)
    return jnp.matmul(*pair, precision=PRECISE)


def _is_tall(vectors: Array) -> bool:
    return vectors.shape[0] > vectors.shape[1]
