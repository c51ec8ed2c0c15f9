"""Directions of features: nearly orthogonal unit vectors, more of them than dimensions."""

import jax
import jax.numpy as jnp
import optax
from jax import Array, lax


def unit_rows(vectors: Array) -> Array:
    """The rows of [N, d], divided by their Euclidean norms."""
    return vectors / jnp.linalg.norm(vectors, axis=1, keepdims=True)


def overlap(vectors: Array) -> Array:
    """``sum_{i != j} (v_i . v_j)^2 + N sum_i (v_i . v_i - 1)^2`` of N vectors [N, d]: [].

    The first sum is computed from the smaller one of the matrices V V^T and V^T V, whose Frobenius
    norms are equal.
    """
    count, dim = vectors.shape
    gram = vectors.T @ vectors if dim < count else vectors @ vectors.T
    squares = jnp.square(vectors).sum(1)
    off = jnp.square(gram).sum() - jnp.square(squares).sum()
    return off + count * jnp.square(squares - 1).sum()


def orthogonalized(vectors: Array, *, steps: int, learning_rate: float) -> Array:
    """Unit vectors [N, d] after `steps` of Adam on their `overlap`, normalized again."""
    optimizer = optax.adam(learning_rate)
    vectors = unit_rows(vectors)

    def step(_: int, carry: tuple[Array, optax.OptState]) -> tuple[Array, optax.OptState]:
        vectors, state = carry
        updates, state = optimizer.update(jax.grad(overlap)(vectors), state)
        return optax.apply_updates(vectors, updates), state

    vectors, _ = lax.fori_loop(0, steps, step, (vectors, optimizer.init(vectors)))
    return unit_rows(vectors)
