"""Nearest directions, against all pairs."""

import numpy as np
import optax
import pytest

from ae_jax.evaluation.dictionaries.geometry import (
    directions_of,
    geometry_metrics,
    nearest_directions,
)
from ae_jax.models import Dictionary, Vanilla
from ae_jax.sparsifiers import L1Sparsifier


def all_pairs(directions):
    rows = np.float64(directions).reshape(len(directions), -1)
    rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-300)
    return rows @ rows.T


@pytest.mark.parametrize("tile", [32, 96, 4096])
def test_neighbors_are_those_of_all_pairs(tile):
    rng = np.random.default_rng(0)
    directions = rng.normal(size=(210, 2, 3)) * np.exp(rng.normal(size=(210, 1, 1)) * 20)
    directions[7] = -3 * directions[100]  # an opposite is near too
    got = nearest_directions(directions.astype(np.float32), count=4, tile=tile)
    cosines = all_pairs(np.float32(directions))
    sizes = np.abs(cosines)
    np.fill_diagonal(sizes, -1)
    np.testing.assert_allclose(np.abs(got.cosines), -np.sort(-sizes, axis=1)[:, :4], atol=1e-5)
    of_indices = np.take_along_axis(cosines, got.indices, axis=1)
    np.testing.assert_allclose(got.cosines, of_indices, atol=1e-5)
    assert all(len({i, *row}) == 5 for i, row in enumerate(got.indices))
    assert got.indices[7, 0] == 100 and got.cosines[7, 0] < -0.999
    some = nearest_directions(directions, of=[100, 7, 3], count=4, tile=tile)
    np.testing.assert_allclose(np.abs(some.cosines), np.abs(got.cosines[[100, 7, 3]]), atol=1e-5)
    assert some.indices[0, 0] == 7
    metrics = geometry_metrics(got)
    np.testing.assert_allclose(metrics["largest_cosine"], sizes.max(1).mean(), rtol=1e-5)
    assert metrics["near_duplicates"] == (sizes.max(1) > 0.9).mean() > 0


def test_orthogonal_and_missing_directions_have_cosine_0():
    got = nearest_directions(np.diag([1.0, 2.0, 0.0]), count=9)
    assert got.indices.shape == (3, 2) and not got.cosines.any()
    assert all(set(row) == {0, 1, 2} - {i} for i, row in enumerate(got.indices))


def test_what_has_no_neighbors_is_one_line():
    with pytest.raises(ValueError, match="a dictionary of one latent has no other"):
        geometry_metrics(nearest_directions(np.ones((1, 3))))
    with pytest.raises(ValueError, match="count=0: must be at least 1"):
        nearest_directions(np.eye(3), count=0)
    with pytest.raises(ValueError, match="the directions are not finite"):
        nearest_directions(np.full((2, 3), np.nan))


def test_directions_are_in_the_units_of_the_data(numpy_state):
    spec = Dictionary(width=4, sparsifier=L1Sparsifier(), sources=True, normalize=True)
    ae = spec.build((2, 3))
    variables = numpy_state(ae, optax.identity()).variables
    variables = {**variables, "statistics": {"x_scale": np.float32(2.0)}}
    want = 2.0 * np.asarray(variables["params"]["decoder"]).reshape(4, 2, 3)
    np.testing.assert_allclose(directions_of(ae, variables), want)
    with pytest.raises(ValueError, match="has no method 'directions'"):
        directions_of(Vanilla(loss="mse").build((3,)), {})
