"""Paths between codes."""

import numpy as np

from ae_jax.evaluation.paths import spherical, straight, traversal

RNG = np.random.default_rng(0)


def test_both_begin_and_end_where_they_should():
    a, b = RNG.normal(size=(2, 3, 4))
    for path in (straight(a, b, 6), spherical(a, b, 6)):
        assert path.shape == (6, 3, 4)
        np.testing.assert_allclose(path[0], a, atol=1e-12)
        np.testing.assert_allclose(path[-1], b, atol=1e-12)


def test_straight_has_even_steps():
    a, b = RNG.normal(size=(2, 5))
    np.testing.assert_allclose(np.diff(straight(a, b, 5), axis=0), [(b - a) / 4] * 4)


def test_spherical_keeps_the_length_and_turns_evenly():
    a, b = RNG.normal(size=(2, 8))
    a, b = a / np.linalg.norm(a), b / np.linalg.norm(b)
    path = spherical(a, b, 7)
    np.testing.assert_allclose(np.linalg.norm(path, axis=1), 1)
    turns = np.arccos((path[1:] * path[:-1]).sum(1))
    np.testing.assert_allclose(turns, np.arccos(a @ b) / 6)


def test_spherical_is_straight_where_there_is_no_arc():
    a = RNG.normal(size=4)
    for b in (a, 3 * a, -a, 0 * a):
        np.testing.assert_allclose(spherical(a, b, 5), straight(a, b, 5))


def test_a_traversal_changes_one_dimension():
    z = RNG.normal(size=3)
    path = traversal(z, 1, np.array([-1.0, 0.0, 2.0]))
    np.testing.assert_array_equal(path[:, 1], [-1, 0, 2])
    np.testing.assert_array_equal(path[:, [0, 2]], np.repeat(z[None, [0, 2]], 3, axis=0))
