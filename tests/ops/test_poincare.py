"""Hyperbolic operations in float32, against the textbook's forms in float64 and identities."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ae_jax.ops import poincare

RNG = np.random.default_rng(0)
ROWS, D = 40, 3
CURVATURES = (0.3, 1.0, 2.5)
close = np.testing.assert_allclose


def points(c, far=3.0):
    """Points whose distances to the origin are uniform in [0, far]."""
    direction = RNG.normal(size=(ROWS, D))
    direction /= np.linalg.norm(direction, axis=1)[:, None]
    distance = RNG.uniform(0, far, size=(ROWS, 1))
    return np.float32(np.tanh(np.sqrt(c) * distance / 2) * direction / np.sqrt(c))


def mobius(x, y, c):
    """Ganea et al., 2018, equation 1."""
    xy, xx, yy = ((a * b).sum(-1, keepdims=True) for a, b in ((x, y), (x, x), (y, y)))
    top = (1 + 2 * c * xy + c * yy) * x + (1 - c * xx) * y
    return top / (1 + 2 * c * xy + c * c * xx * yy)


def distance(x, y, c):
    length = np.linalg.norm(mobius(-x, y, c), axis=-1)
    return 2 / np.sqrt(c) * np.arctanh(np.sqrt(c) * length)


def logarithm(x, y, c):
    """Ganea et al., 2018, equation 12."""
    w, gap = mobius(-x, y, c), 1 - c * np.square(x).sum(-1, keepdims=True)
    length = np.linalg.norm(w, axis=-1, keepdims=True)
    return gap / np.sqrt(c) * np.arctanh(np.sqrt(c) * length) * w / length


@pytest.mark.parametrize("c", CURVATURES)
def test_operations_are_those_of_the_textbook(c):
    x, y = points(c), points(c)
    a, b = np.float64(x), np.float64(y)
    close(poincare.gap(x, c)[:, 0], 1 - c * np.square(a).sum(1), rtol=1e-5)
    close(poincare.mobius_add(x, y, c), mobius(a, b, c), rtol=1e-4, atol=1e-5)
    close(poincare.distance(x, y, c), distance(a, b, c), rtol=1e-5)
    v = logarithm(a, b, c)
    close(poincare.log_map(x, y, c), v, rtol=1e-4, atol=1e-5)
    close(poincare.exp_map(x, jnp.float32(v), c), y, rtol=1e-4, atol=1e-5)
    gap = 1 - c * np.square(a).sum(1)
    close(np.linalg.norm(v, axis=1) * 2 / gap, distance(a, b, c), rtol=1e-9)


@pytest.mark.parametrize("c", CURVATURES)
def test_a_translation_is_undone_and_keeps_distances(c):
    x, y, z = points(c), points(c), points(c)
    v = poincare.translation(x, y, c)
    close(poincare.mobius_add(x, poincare.exp_origin(v / 2, c), c), y, rtol=1e-3, atol=1e-5)
    close(jnp.linalg.norm(v, axis=1), poincare.distance(x, y, c), rtol=1e-4)
    moved = (poincare.mobius_add(x, other, c) for other in (y, z))
    close(poincare.distance(*moved, c), poincare.distance(y, z, c), rtol=2e-3)


@pytest.mark.parametrize("c", CURVATURES)
def test_a_geodesic_has_even_steps_and_the_length_of_the_distance(c):
    x, y = points(c)[:1], points(c)[:1]
    t = jnp.linspace(0, 1, 9)[:, None]
    path = poincare.geodesic(x, y, t, c)
    close(path[0], x[0], atol=1e-5)
    close(path[-1], y[0], atol=1e-5)
    steps = poincare.distance(path[:-1], path[1:], c)
    close(steps, np.full(8, poincare.distance(x, y, c)[0] / 8), rtol=1e-3)


def test_it_becomes_flat_as_the_curvature_vanishes():
    """Lengths are twice those of the coordinates, whose metric has the factor 4 at the origin."""
    x, y = (jnp.float32(RNG.normal(size=(ROWS, D))) for _ in range(2))
    c = 1e-8
    close(poincare.mobius_add(x, y, c), x + y, atol=1e-5)
    close(poincare.distance(x, y, c), 2 * jnp.linalg.norm(x - y, axis=1), rtol=1e-5)
    close(poincare.log_map(x, y, c), y - x, atol=1e-5)


@pytest.mark.parametrize("c", CURVATURES)
def test_values_and_gradients_are_finite_at_the_boundary_and_for_equal_points(c):
    """At the origin, next to each other, opposite at the boundary, and far beyond it."""
    e, edge = np.eye(D)[0], (1 - 1e-5) / np.sqrt(c)
    near = edge * np.array([np.cos(1e-4), np.sin(1e-4), 0])
    x = jnp.float32([0 * e, 0 * e, edge * e, edge * e, edge * e, 0.1 * e, 0.1 * e])
    y = jnp.float32([0 * e, edge * e, -edge * e, edge * e, near, 0.1 * e, 0.1 * e + 1e-7])

    @jax.jit
    def everything(x, y):
        functions = (poincare.mobius_add, poincare.log_map, poincare.exp_map, poincare.translation)
        values = [f(x, y, c) for f in functions] + [poincare.distance(x, y, c)]
        values += [poincare.exp_origin(1e30 * y, c), poincare.geodesic(x, y, 0.3, c)]
        return values, jax.grad(lambda x, y: sum(jnp.sin(f(x, y, c)).sum() for f in functions))(
            x, y
        )

    values, gradient = everything(x, y)
    assert all(np.isfinite(value).all() for value in values) and np.isfinite(gradient).all()
    for inside in (values[0], values[2], values[5], values[6]):
        assert (np.sqrt(c) * np.linalg.norm(np.float64(inside), axis=1) < 1).all()
    a, b = np.float64(x), np.float64(y)
    close(values[4][jnp.array([1, 2])], distance(a, b, c)[[1, 2]], rtol=5e-3)


def test_functions_of_squares_join_their_series():
    square = np.float32([0, 1e-8, 9.9e-4, 1.01e-3, 0.3, 5, 200, 1e4])
    r = np.sqrt(np.float64(square[1:]))
    log_sinh = r + np.log(-np.expm1(-2 * r) / (2 * r))
    exact = {
        poincare.log_sinh_ratio: (0, log_sinh),
        poincare._tanh_ratio: (1, np.tanh(r) / r),
        poincare._asinh_ratio: (1, np.arcsinh(r) / r),
    }
    for fn, (at_zero, rest) in exact.items():
        got = np.float64(fn(square))
        assert got[0] == at_zero
        close(got[1:], rest, rtol=2e-6, atol=1e-7)
        assert np.isfinite(jax.grad(lambda s, fn=fn: fn(s).sum())(square)).all()
