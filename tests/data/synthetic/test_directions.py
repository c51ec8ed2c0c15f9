"""Nearly orthogonal directions: the loss, its two forms, and what Adam makes of it."""

import jax
import numpy as np
import pytest

from ae_jax.data.synthetic.directions import orthogonalized, overlap, overlap_gradient, unit_rows

RNG = np.random.default_rng(0)


def reference(v):
    """The loss by its definition, in float64."""
    v = np.asarray(v, np.float64)
    dots = v @ v.T
    diagonal = np.diag(dots)
    off = np.square(dots).sum() - np.square(diagonal).sum()
    return off + len(v) * np.square(diagonal - 1).sum()


@pytest.mark.parametrize("shape", [(9, 4), (4, 9), (5, 5)])
def test_the_loss_is_its_definition(shape):
    v = RNG.normal(size=shape).astype(np.float32)
    np.testing.assert_allclose(overlap(v), reference(v), rtol=1e-5)
    gradient = overlap_gradient(v)
    np.testing.assert_allclose(gradient, jax.grad(overlap)(v), rtol=1e-4, atol=1e-4)
    for i in ((0, 0), (2, 3)):
        step = np.zeros(shape)
        step[i] = 1e-5
        slope = (reference(v + step) - reference(v - step)) / 2e-5
        np.testing.assert_allclose(gradient[i], slope, rtol=1e-4)


def test_the_steps_are_those_of_adam():
    """Written out with NumPy: rates of decay .9 and .999, as in the source."""
    start = RNG.normal(size=(6, 3)).astype(np.float32)
    v = np.asarray(unit_rows(start), np.float64)
    first, second = np.zeros_like(v), np.zeros_like(v)
    for t in range(1, 6):
        squares = np.square(v).sum(1, keepdims=True)
        gradient = 4 * (v @ v.T) @ v - 4 * squares * v + 4 * len(v) * (squares - 1) * v
        first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
        v -= 1e-2 * (first / (1 - 0.9**t)) / (np.sqrt(second / (1 - 0.999**t)) + 1e-8)
    v /= np.linalg.norm(v, axis=1, keepdims=True)
    got = jax.jit(lambda v: orthogonalized(v, steps=5, learning_rate=1e-2))(start)
    np.testing.assert_allclose(got, v, atol=1e-5)


def test_they_become_more_orthogonal_and_stay_of_unit_length():
    start = RNG.normal(size=(40, 16)).astype(np.float32)
    got = jax.jit(lambda v: orthogonalized(v, steps=200, learning_rate=1e-2))(start)
    np.testing.assert_allclose(np.linalg.norm(got, axis=1), 1, rtol=1e-6)
    before, after = (
        np.square(np.asarray(v @ v.T))[~np.eye(40, dtype=bool)].mean()
        for v in (unit_rows(start), got)
    )
    # The least mean square of the cosines of 40 directions in 16 dimensions: Welch's bound.
    assert (40 - 16) / (16 * 39) <= after < 1.05 * (40 - 16) / (16 * 39) < before
