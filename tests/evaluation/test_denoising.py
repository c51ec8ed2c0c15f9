"""Denoising metrics against NumPy, brute-force filters, and noise that is known."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ae_jax.evaluation.denoising import (
    FILTERS,
    add_noise,
    best_widths,
    denoising_metrics,
    filtered,
    gaussian_filter,
    median_filter,
)
from ae_jax.evaluation.ssim import ssim
from ae_jax.models import Vanilla
from ae_jax.networks import RNN

KEY = jax.random.key(3)
X = np.random.default_rng(0).random((7, 6, 5, 1), np.float32)


def mirrored(x, reach):
    return np.pad(x, [(0, 0), (reach, reach), (reach, reach), (0, 0)], mode="symmetric")


def test_median_is_of_the_window_around_each_pixel():
    window = np.lib.stride_tricks.sliding_window_view(mirrored(X, 1), (3, 3), axis=(1, 2))
    np.testing.assert_array_equal(median_filter(X, 3), np.median(window, axis=(-2, -1)))


def test_gaussian_filter_weighs_by_distance_and_keeps_images_and_channels_apart():
    x = np.zeros((2, 31, 31, 3), np.float32)
    x[0, 15, 15, 1] = 1
    found = gaussian_filter(x, 1.5)
    assert not found[1].any() and not found[0, :, :, [0, 2]].any()
    distance = np.arange(31) - 15
    weights = np.exp(-0.5 * (distance / 1.5) ** 2)
    weights /= weights.sum()
    np.testing.assert_allclose(found[0, :, :, 1], np.outer(weights, weights), atol=1e-4)


@pytest.mark.parametrize("noise", ["gaussian", "masking", "salt_and_pepper"])
def test_noise_of_an_example_does_not_depend_on_its_batch(noise):
    rows = jnp.arange(7)
    whole = add_noise(KEY, X, rows, 0.5, noise=noise)
    np.testing.assert_array_equal(add_noise(KEY, X[4:], rows[4:], 0.5, noise=noise), whole[4:])
    other = add_noise(KEY, X, rows + 7, 0.5, noise=noise)
    assert (np.asarray(other) != np.asarray(whole)).mean() > 0.2


def test_noise_has_its_level():
    x = np.full((40, 50, 50), 0.5, np.float32)
    rows = jnp.arange(40)
    gaussian = np.asarray(add_noise(KEY, x, rows, 0.1, noise="gaussian"))
    assert gaussian.std() == pytest.approx(0.1, rel=0.02)
    masked = np.asarray(add_noise(KEY, x, rows, 0.3, noise="masking"))
    assert (masked == 0).mean() == pytest.approx(0.3, abs=0.01)
    salted = np.asarray(add_noise(KEY, x, rows, 0.3, noise="salt_and_pepper"))
    assert (salted == 0).mean() == pytest.approx(0.15, abs=0.01)
    assert (salted == 1).mean() == pytest.approx(0.15, abs=0.01)


def test_widths_are_the_best_of_all():
    x = np.zeros((5, 12, 12, 1), np.uint8)
    x[:, 3:9, 3:9] = 255
    noisy = np.asarray(add_noise(KEY, x / np.float32(255), jnp.arange(5), 0.4, noise="gaussian"))
    found = best_widths(x, KEY, noise="gaussian", level=0.4)
    for name, width in found.items():
        errors = {
            w: np.square(FILTERS[name].apply(noisy, w) - x / 255).sum()
            for w in FILTERS[name].widths
        }
        assert width == min(errors, key=errors.get)


def test_figures_equal_numpy_whatever_the_batch(numpy_state):
    ae = Vanilla(latent_dim=3).build((6, 5, 1))
    variables = numpy_state(ae, optax.identity()).variables
    widths = {0.2: {"gaussian filter": 0.5, "median filter": 3}, 0.6: {"median filter": 5}}
    got = denoising_metrics(
        ae, variables, {"x": X}, KEY, noise="gaussian", widths=widths, batch_size=3
    )
    assert {level: list(row) for level, row in got.items()} == {
        0.2: ["noisy", "model", "gaussian filter", "median filter"],
        0.6: ["noisy", "model", "median filter"],
    }
    for level, row in got.items():
        noisy = add_noise(KEY, X, jnp.arange(7), level, noise="gaussian")
        expected = {"noisy": noisy, "model": ae.reconstruct(variables, noisy)}
        for name, output in (expected | filtered(noisy, widths[level])).items():
            mse = np.square(np.float64(output) - X).mean()
            assert row[name]["mse"] == pytest.approx(mse, rel=1e-5)
            assert row[name]["psnr"] == pytest.approx(-10 * np.log10(mse), rel=1e-5)
            assert row[name]["ssim"] == pytest.approx(float(ssim(output, X).mean()), rel=1e-5)


def test_vectors_have_no_filters(numpy_state):
    ae = Vanilla(latent_dim=2).build((4,))
    x = np.random.default_rng(0).random((5, 4), np.float32)
    variables = numpy_state(ae, optax.identity()).variables
    got = denoising_metrics(ae, variables, {"x": x}, KEY, noise="masking", widths={0.5: {}})
    noisy = np.asarray(add_noise(KEY, x, jnp.arange(5), 0.5, noise="masking"))
    mse = np.square(noisy - x).mean()
    assert got[0.5]["noisy"] == {
        "mse": pytest.approx(mse),
        "psnr": pytest.approx(-10 * np.log10(mse)),
    }
    assert list(got[0.5]) == ["noisy", "model"]


def test_padding_after_a_sequence_does_not_count(numpy_state):
    ae = Vanilla(network=RNN(widths=(3, 2)), latent_dim=None).build((4, 2))
    x = np.random.default_rng(0).random((5, 4, 2), np.float32)
    length = np.array([1, 2, 3, 4, 2], np.int32)
    variables = numpy_state(ae, optax.identity()).variables
    data = {"x": x, "length": length}
    got = denoising_metrics(ae, variables, data, KEY, noise="gaussian", widths={0.5: {}})
    noisy = np.asarray(add_noise(KEY, x, jnp.arange(5), 0.5, noise="gaussian"))
    each = [np.square(noisy[i, :n] - x[i, :n]).mean() for i, n in enumerate(length)]
    assert got[0.5]["noisy"]["mse"] == pytest.approx(np.mean(each), rel=1e-5)
