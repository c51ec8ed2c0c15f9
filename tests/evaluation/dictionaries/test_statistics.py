"""Sums and metrics of a dictionary, against float64 and closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ae_jax.evaluation.dictionaries.examples import top_examples
from ae_jax.evaluation.dictionaries.metrics import CONVENTIONS, dictionary_metrics
from ae_jax.evaluation.dictionaries.statistics import dictionary_statistics
from ae_jax.models import Dictionary
from ae_jax.sparsifiers import L1Sparsifier, TopK

WIDTH, DIM, COUNT = 12, 5, 23
SPEC = Dictionary(width=WIDTH, sparsifier=TopK(active=3), dead_weight=0.0)


@pytest.fixture(scope="module")
def x():
    rng = np.random.default_rng(0)
    x = (30.0 + rng.normal(size=(COUNT, DIM))).astype(np.float32)  # far from 0
    x[4] = 0.0
    return x


@pytest.fixture(scope="module")
def model(numpy_state):
    ae = SPEC.build((DIM,))
    return ae, numpy_state(ae, optax.sgd(0.1)).variables


@pytest.fixture(scope="module")
def statistics(model, x):
    return dictionary_statistics(*model, x, batch_size=5)


def reference(ae, variables, x, target=None):
    z = np.float64(ae.features(variables, x))
    return z, np.float64(ae.reconstruct(variables, x)), np.float64(x if target is None else target)


def test_metrics_are_those_of_the_whole_data_at_once(model, x, statistics):
    z, recon, target = reference(*model, x)
    error, center = target - recon, target - target.mean(0)
    norms = np.linalg.norm(target, axis=1), np.linalg.norm(recon, axis=1)
    both = norms[0] * norms[1]
    real = norms[0] > 0
    rate = (z != 0).mean(0)
    assert (rate == 0).any() and real.sum() == COUNT - 1  # some are dead, and one row is 0
    want = {
        "explained_variance": 1 - np.square(error).sum() / np.square(center).sum(),
        "l0": (z != 0).sum(1).mean(),
        "dead": (rate == 0).mean(),
        "dense": (rate > 0.3).mean(),
        "cosine": ((target * recon).sum(1)[real] / both[real]).sum() / COUNT,
        "relative_norm": (norms[1][real] / norms[0][real]).mean(),
        "slope": (target * recon).sum() / np.square(recon).sum(),
        "mean_activation": (z.sum(0)[rate > 0] / (z != 0).sum(0)[rate > 0]).mean(),
    }
    got = dictionary_metrics(statistics, dense_share=0.3)
    assert got.keys() == CONVENTIONS.keys() == want.keys()
    for name, value in want.items():
        np.testing.assert_allclose(got[name], value, rtol=1e-5, err_msg=name)
    np.testing.assert_array_equal(statistics.fired, (z != 0).sum(0))
    np.testing.assert_allclose(statistics.activation, z.sum(0), rtol=1e-5)
    np.testing.assert_allclose(statistics.largest, z.max(0), rtol=1e-6)


def test_sums_do_not_depend_on_the_batches(model, x, statistics):
    for size in (1, COUNT, 1000):
        other = dictionary_statistics(*model, x, batch_size=size)
        np.testing.assert_array_equal(other.fired, statistics.fired)
        for name, value in statistics._asdict().items():
            np.testing.assert_allclose(getattr(other, name), value, rtol=1e-5, err_msg=name)


def test_masked_rows_do_not_count(model, x, statistics):
    rows = np.repeat(np.arange(COUNT), 2)
    data = {"x": x[rows].copy(), "mask": np.arange(len(rows)) % 2}
    data["x"][::2] = 1e6
    other = dictionary_statistics(*model, data, batch_size=5)
    jax.tree.map(np.testing.assert_array_equal, other, statistics)


def test_no_factor_of_the_reconstructions_is_better_than_the_slope(model, x, statistics):
    _, recon, target = reference(*model, x)
    slope = dictionary_metrics(statistics)["slope"]
    errors = [np.square(target - factor * recon).sum() for factor in slope * np.r_[0.99, 1, 1.01]]
    assert errors[1] < min(errors[0], errors[2])


def test_a_perfect_dictionary(numpy_state):
    """One latent for each element of positive data."""
    ae = Dictionary(width=4, sparsifier=L1Sparsifier()).build((4,))
    variables = numpy_state(ae, optax.identity()).variables
    params = {"encoder": jnp.eye(4), "decoder": jnp.eye(4), "bias": jnp.zeros(4)}
    variables = {**variables, "params": {**params, "encoder_bias": jnp.zeros(4)}}
    x = np.random.default_rng(0).integers(0, 256, (40, 4), np.uint8)
    got = dictionary_metrics(dictionary_statistics(ae, variables, x, batch_size=16))
    for name in ("explained_variance", "cosine", "relative_norm", "slope"):
        np.testing.assert_allclose(got[name], 1.0, rtol=1e-6)
    assert got["dead"] == 0 and got["dense"] == 1
    np.testing.assert_allclose(got["mean_activation"], x[x > 0].mean() / 255, rtol=0.05)


def test_a_transcoder_is_measured_on_its_target(numpy_state, x):
    spec = Dictionary(width=6, sparsifier=TopK(active=2), target_dim=3, skip=True, normalize=True)
    ae = spec.build((DIM,))
    variables = numpy_state(ae, optax.identity()).variables
    scales = {"x_scale": jnp.float32(2.0), "target_scale": jnp.float32(3.0)}
    variables = {**variables, "statistics": scales}
    target = np.random.default_rng(1).normal(size=(COUNT, 3)).astype(np.float32)
    got = dictionary_metrics(dictionary_statistics(ae, variables, {"x": x, "target": target}))
    _, recon, _ = reference(ae, variables, x)
    want = 1 - np.square(target - recon).sum() / np.square(target - target.mean(0)).sum()
    np.testing.assert_allclose(got["explained_variance"], want, rtol=1e-5)
    with pytest.raises(ValueError, match="the model reads 'target', which the data lacks"):
        dictionary_statistics(ae, variables, x)


def test_what_cannot_be_measured_is_one_line(model, x, statistics):
    with pytest.raises(ValueError, match="dense_share=1.0: must be between 0 and 1"):
        dictionary_metrics(statistics, dense_share=1.0)
    with pytest.raises(ValueError, match="the 3 targets are all equal"):
        dictionary_metrics(dictionary_statistics(*model, x[[0, 0, 0]]))
    ae, variables = model
    broken = jax.tree.map(lambda a: a * np.nan, variables)
    with pytest.raises(ValueError, match="not finite: has the training diverged"):
        dictionary_statistics(ae, broken, x, batch_size=5)


def test_top_examples_are_those_of_a_sort(model, x):
    ae, variables = model
    z = np.asarray(ae.features(variables, x))
    latents = np.r_[np.argsort(-z.sum(0))[:3], np.flatnonzero(z.sum(0) == 0)[:1]]
    data = {"x": x[np.r_[0, 0:COUNT]], "mask": np.r_[0, np.ones(COUNT)]}
    for size in (5, 1000):
        got = top_examples(ae, variables, data, latents, count=6, batch_size=size)
        order = np.argsort(-z[:, latents], axis=0, kind="stable")[:6].T
        values = np.take_along_axis(z[:, latents].T, order, axis=1)
        np.testing.assert_array_equal(got.rows, np.where(values > 0, order, -1))
        np.testing.assert_allclose(got.activations, values, rtol=1e-6)
    assert (got.rows[-1] == -1).all()
    with pytest.raises(ValueError, match="count=0: must be at least 1"):
        top_examples(ae, variables, x, [0], count=0)


def test_fewer_examples_than_are_asked_for(model, x):
    got = top_examples(*model, x[:2], np.arange(WIDTH), count=4)
    assert got.rows.shape == (WIDTH, 4) and (got.rows[:, 2:] == -1).all()
