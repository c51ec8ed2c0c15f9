"""Functions over whole data sets: the same as at once, whatever the batch size."""

import numpy as np
import pytest

from ae_jax.evaluation.batches import in_batches

X = np.random.default_rng(0).normal(size=(23, 4)).astype(np.float32)


@pytest.mark.parametrize("size", [1, 5, 22, 23, 1000])
def test_batches_are_the_whole(size):
    data = {"x": X, "label": np.arange(23)}

    def fn(scale, batch):
        return {"sum": scale * batch["x"].sum(1), "label": batch["label"]}

    found = in_batches(fn, 2.0, data, batch_size=size)
    np.testing.assert_allclose(found["sum"], 2 * X.sum(1), rtol=1e-6)
    np.testing.assert_array_equal(found["label"], np.arange(23))


def test_it_compiles_once_and_reads_pixels_as_floats():
    traces = []

    def fn(_, batch):
        traces.append(batch["x"].shape)
        return batch["x"].max((1, 2))

    x = np.full((7, 2, 2), 255, np.uint8)
    np.testing.assert_array_equal(in_batches(fn, (), {"x": x}, batch_size=3), np.ones(7))
    assert traces == [(3, 2, 2)]
