"""The objective is written out again here, in float64 NumPy, and minimized by SciPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.datasets import load_digits

from ae_jax.data import array_record
from ae_jax.evaluation import LogisticPCA, fit_logistic_pca, fit_pca

RIDGE = 1e-3


def objective(logits, x, ridge):
    """The objective of each row, in nats, and its derivative by the logits."""
    p = 1 / (1 + np.exp(-logits))
    value = np.logaddexp(0, logits) - x * logits + ridge / 2 * logits**2
    return value.sum(axis=1), p - x + ridge * logits


def joint(flat, x, k, ridge):
    """The objective of all rows by codes, components and bias, and its gradient."""
    n, d = x.shape
    z, components, bias = np.split(flat, [n * k, n * k + k * d])
    z, components = z.reshape(n, k), components.reshape(k, d)
    values, slopes = objective(z @ components + bias, x, ridge)
    gradient = [(slopes @ components.T).ravel(), (z.T @ slopes).ravel(), slopes.sum(axis=0)]
    return values.sum(), np.concatenate(gradient)


def in_float64(model, x):
    """Codes, components and bias of a fitted model for data x."""
    arrays = (model.encode(x), model.components, model.bias)
    return tuple(np.asarray(a, np.float64) for a in arrays)


def gray(n=40, d=12, *, seed=0):
    rng = np.random.default_rng(seed)
    logits = 3 * rng.normal(size=(n, 3)) @ rng.normal(size=(3, d)) + rng.normal(size=d)
    return (1 / (1 + np.exp(-logits + rng.normal(size=(n, d))))).astype(np.float32)


def black_and_white(n=60, d=16, *, seed=0):
    """Binary data with pixels that are always 0 or always 1: the likelihood has no maximum."""
    rng = np.random.default_rng(seed)
    x = (rng.normal(size=(n, 2)) @ rng.normal(size=(2, d)) > 0).astype(np.float32)
    x[:, :3], x[:, 3:5] = 0, 1
    return x


@pytest.fixture(scope="module")
def digits():
    return (load_digits().images / 16).astype(np.float32)


@pytest.fixture(scope="module")
def model(digits):
    return fit_logistic_pca(digits, 5, ridge=RIDGE, sweeps=100)


def test_fit_reaches_the_minimum_that_lbfgs_finds():
    x, k = gray(), 2
    model = fit_logistic_pca(x, k, ridge=RIDGE, sweeps=400)
    z, components, bias = in_float64(model, x)
    ours = objective(z @ components + bias, x, RIDGE)[0].sum()
    starts = np.random.default_rng(1).normal(size=(5, len(x) * k + (k + 1) * x.shape[1]))
    options = {"maxiter": 5000, "maxfun": 10000, "ftol": 1e-12, "gtol": 1e-8}
    fits = [minimize(joint, s, (x, k, RIDGE), "L-BFGS-B", True, options=options) for s in starts]
    assert ours == pytest.approx(min(fit.fun for fit in fits), rel=1e-5)


def test_fit_is_stationary(digits):
    x = digits[:300].reshape(300, -1)
    model = fit_logistic_pca(x, 3, ridge=RIDGE, sweeps=400)
    parameters = in_float64(model, x)
    start = np.zeros(sum(p.size for p in parameters))
    flat = np.concatenate([p.ravel() for p in parameters])
    gradient = joint(flat, x, 3, RIDGE)[1]
    assert np.linalg.norm(gradient) < 1e-3 * np.linalg.norm(joint(start, x, 3, RIDGE)[1])


def test_history_is_the_objective_and_never_rises(model, digits):
    history = np.asarray(model.history)
    assert history.shape == (100,)
    assert (np.diff(history) <= 1e-6 * history[0]).all()
    z, components, bias = in_float64(model, digits)
    x = digits.reshape(len(digits), -1)
    now = objective(z @ components + bias, x, RIDGE)[0].mean()
    assert now <= history[-1] * (1 + 1e-6)
    assert now == pytest.approx(history[-1], rel=1e-4)


@pytest.mark.slow
def test_saturated_pixels_stay_finite():
    x = black_and_white()
    model = fit_logistic_pca(x, 3, sweeps=200)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(model))
    assert (np.diff(model.history) <= 1e-6 * model.history[0]).all()
    z = model.encode(x)
    assert np.isfinite(z).all()
    np.testing.assert_allclose(model.decode(z), x, atol=0.01)


@pytest.mark.parametrize("seed", range(3))
def test_codes_are_the_minimum_that_newton_cg_finds(model, digits, seed):
    x = np.random.default_rng(seed).permutation(digits)[:20].reshape(20, -1)
    z, components, bias = in_float64(model, x.reshape(20, 8, 8))

    def one(code, row):
        value, slope = objective(code[None] @ components + bias, row[None], RIDGE)
        return value[0], components @ slope[0]

    for code, row in zip(z, x, strict=True):
        best = minimize(one, np.zeros(5), (row,), "Newton-CG", True, options={"xtol": 1e-10})
        np.testing.assert_allclose(code, best.x, atol=2e-3)
        assert one(code, row)[0] == pytest.approx(best.fun, rel=1e-6)


@pytest.mark.parametrize("scale", [1, 30, 1000])
def test_no_newton_step_raises_an_objective(scale):
    """Whatever the components, also where the full Newton step would overshoot."""
    keys = jax.random.split(jax.random.key(scale), 3)
    components = scale * jax.random.normal(keys[0], (4, 25))
    bias = 3 * jax.random.normal(keys[1], (25,))
    x = np.asarray(jax.random.bernoulli(keys[2], 0.5, (100, 5, 5)), np.float32)
    model = LogisticPCA(components, bias, jnp.asarray(1e-5), jnp.zeros(0), (5, 5))
    path = []
    for iterations in range(12):
        z = np.asarray(model.encode(x, iterations=iterations), np.float64)
        logits = z @ np.asarray(components, np.float64) + np.asarray(bias)
        path.append(objective(logits, x.reshape(100, -1), 1e-5)[0])
    path = np.stack(path)
    assert (np.diff(path, axis=0) <= 1e-5 * path[0]).all()
    assert (path[-1] < path[0]).all()


@pytest.mark.slow
def test_low_rank_logits_are_recovered():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(300, 2)) @ rng.normal(size=(2, 20)) + rng.normal(size=20)
    x = (1 / (1 + np.exp(-logits))).astype(np.float32)
    model = fit_logistic_pca(x, 2, ridge=1e-6, sweeps=100)
    np.testing.assert_allclose(model.decode(model.encode(x)), x, atol=2e-3)


def test_components_are_canonical(model, digits):
    """Orthonormal rows, largest variance first; fitted codes centered and uncorrelated."""
    components = np.asarray(model.components)
    np.testing.assert_allclose(components @ components.T, np.eye(5), atol=1e-5)
    assert (np.take_along_axis(components, np.abs(components).argmax(1)[:, None], 1) > 0).all()
    z = np.asarray(model.encode(digits))
    covariance = np.cov(z.T)
    variances = np.diag(covariance)
    assert (np.diff(variances) < 0).all()
    np.testing.assert_allclose(z.mean(axis=0), 0, atol=0.01 * np.sqrt(variances[0]))
    np.testing.assert_allclose(covariance, np.diag(variances), atol=0.01 * variances[0])


@pytest.mark.slow
def test_chunks_and_uint8_change_nothing():
    """uint8 is read as x/255; the last chunk is filled up with rows that must not count."""
    x = np.random.default_rng(0).integers(0, 256, (100, 4, 4, 1), dtype=np.uint8)
    whole = fit_logistic_pca(x, 2, ridge=RIDGE, sweeps=5)
    pixels = (x / 255).astype(np.float32)
    parts = fit_logistic_pca(pixels, 2, ridge=RIDGE, sweeps=5, chunk_size=7)
    np.testing.assert_allclose(whole.components, parts.components, atol=1e-4)
    np.testing.assert_allclose(whole.history, parts.history, rtol=1e-5)
    z = whole.encode(x)
    np.testing.assert_allclose(z, whole.encode(pixels, chunk_size=7), atol=1e-3)
    assert whole.decode(z).shape == x.shape


@pytest.mark.slow
def test_more_components_than_the_data_has_stay_finite():
    x = np.tile(gray(4, 12), (5, 1))
    model = fit_logistic_pca(x, 8, sweeps=50)
    z = model.encode(x)
    assert np.isfinite(model.components).all() and np.isfinite(z).all()
    np.testing.assert_allclose(model.decode(z), x, atol=0.01)


def test_is_a_pytree_of_arrays_that_works_under_jit(model, digits):
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(model))
    recon = jax.jit(lambda model, x: model.decode(model.encode(x)))(model, digits[:7])
    np.testing.assert_allclose(recon, model.decode(model.encode(digits[:7])), atol=1e-4)
    assert model.encode(digits[:0]).shape == (0, 5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"latent_dim": 0}, "latent_dim must be between 1 and"),
        ({"latent_dim": 13}, "got 13"),
        ({"ridge": 0.0}, r"ridge must be positive, got 0\.0"),
        ({"ridge": float("nan")}, "ridge must be positive"),
        ({"sweeps": 0}, "sweeps must be positive"),
        ({"chunk_size": -1}, "chunk_size must be positive"),
        ({"x": 2 * np.ones((20, 12))}, r"must lie in \[0, 1\], got 2\.0 to 2\.0"),
        ({"x": np.full((20, 12), np.nan)}, "finite"),
        ({"x": np.zeros((0, 12))}, r"\(0, 12\)"),
    ],
)
def test_bad_input_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        fit_logistic_pca(**({"x": gray(), "latent_dim": 2} | options))


def test_wrong_types_and_shapes_are_refused():
    with pytest.raises(TypeError, match="int64"):
        fit_logistic_pca(np.zeros((20, 12), np.int64), 2)
    model = fit_logistic_pca(gray(), 2, sweeps=1)
    with pytest.raises(ValueError, match=r"\(3, 11\)"):
        model.encode(np.zeros((3, 11), np.float32))


@pytest.mark.slow
def test_halves_the_error_of_pca_on_mnist(real_data):
    x = array_record.load_prepared(array_record.find(real_data, "mnist"), "test")["x"]
    train, test = x[:3000], x[3000:4000]

    def error(model):
        recon = np.asarray(model.decode(model.encode(test)), np.float64)
        return np.sum((recon - test / 255) ** 2) / len(test)

    assert error(fit_logistic_pca(train, 30, sweeps=10)) < 0.5 * error(fit_pca(train, 30))
