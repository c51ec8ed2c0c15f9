"""Bounds of several samples against float64 references, and their gradients against formulas."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import logsumexp, softmax

from ae_jax import losses

RNG = np.random.default_rng(0)
LOG_WEIGHT = RNG.normal(scale=4.0, size=(6, 5)) - 90.0


def reference(log_weight, groups, elbo_weight):
    parts = np.split(np.float64(log_weight), groups)
    bound = np.mean([logsumexp(part, axis=0) - np.log(len(part)) for part in parts], axis=0)
    return elbo_weight * log_weight.mean(0) + (1 - elbo_weight) * bound


@pytest.mark.parametrize("groups", [1, 2, 6])
@pytest.mark.parametrize("elbo_weight", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_bounds_are_the_reference(groups, elbo_weight, scale):
    log_weight = scale * LOG_WEIGHT
    got = losses.importance_bound(log_weight, groups=groups, elbo_weight=elbo_weight)
    np.testing.assert_allclose(got, reference(log_weight, groups, elbo_weight), rtol=1e-6)


def test_more_samples_are_never_worse_in_expectation():
    """MIWAE of M groups is below IWAE of all samples, by Jensen's inequality, for every draw."""
    bounds = [losses.importance_bound(LOG_WEIGHT, groups=groups) for groups in (6, 3, 2, 1)]
    assert np.all(np.diff(bounds[:2], axis=0) >= 0)
    assert np.all(bounds[3] >= bounds[2]) and np.all(bounds[3] >= bounds[1])
    np.testing.assert_allclose(bounds[0], LOG_WEIGHT.mean(0), rtol=1e-6)


def test_weights_of_each_group_add_up():
    want = np.concatenate([softmax(part, axis=0) for part in np.split(LOG_WEIGHT, 2)])
    got = losses.normalized_weights(LOG_WEIGHT, groups=2)
    np.testing.assert_allclose(got, want, rtol=1e-4)


@pytest.mark.parametrize("groups", [1, 3])
def test_the_signal_of_vimco_is_written_out(groups):
    want = []
    for part in np.split(LOG_WEIGHT, groups):
        for k in range(len(part)):
            replaced = part.copy()
            replaced[k] = np.delete(part, k, axis=0).mean(0)
            want.append(logsumexp(part, axis=0) - logsumexp(replaced, axis=0))
    got = losses.vimco_signal(LOG_WEIGHT, groups=groups)
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


def test_mistakes():
    with pytest.raises(ValueError, match=r"has shape \(6, 5\): .* multiple of groups=4"):
        losses.importance_bound(LOG_WEIGHT, groups=4)
    with pytest.raises(ValueError, match=r"has shape \(6,\): it must be \[K, B\]"):
        losses.importance_bound(LOG_WEIGHT[:, 0])
    with pytest.raises(ValueError, match="at least 2 in each group"):
        losses.vimco_signal(LOG_WEIGHT, groups=6)


# x = z + noise, z ~ N(0, 1), q(z) = N(mean, exp(2 log_scale)): 3 samples of a batch of draws.
X, MEAN, LOG_SCALE = 1.3, 0.2, -0.4


def normal(x, mean, log_scale):
    return -0.5 * jnp.square((x - mean) * jnp.exp(-log_scale)) - log_scale - 0.9189385


def bound(theta, noise, estimator, **options):
    """[B], of noise [K, B]; theta is the mean and log scale of q, and the offset of the model."""
    mean, log_scale, offset = theta
    z = mean + jnp.exp(log_scale) * noise
    if estimator in ("vimco", "score"):
        z = jax.lax.stop_gradient(z)
    if estimator == "dreg":
        z, token = losses.scaled_path(z, jnp.zeros((2, *z.shape)))
        mean, log_scale = jax.lax.stop_gradient((mean, log_scale))
    log_q = normal(z, mean, log_scale)
    log_weight = normal(X, z + offset, 0.0) + normal(z, 0.0, 0.0) - log_q
    if estimator == "dreg":
        return losses.doubly_reparametrized(log_weight, token, **options)
    value = losses.importance_bound(log_weight, **options)
    if estimator == "vimco":
        groups = options.get("groups", 1)
        signal = losses.vimco_signal(log_weight, groups=groups) / groups
        return losses.with_score(value, signal, log_q)
    if estimator == "score":
        return losses.with_score(value, jnp.broadcast_to(value, log_q.shape), log_q)
    return value


THETA = (MEAN, LOG_SCALE, 0.1)


@pytest.mark.parametrize("estimator", ["dreg", "vimco", "score"])
@pytest.mark.parametrize("options", [{}, {"groups": 2}, {"elbo_weight": 0.3}], ids=str)
def test_estimators_agree_with_the_plain_gradient_in_expectation(estimator, options):
    """Within five standard errors, over independent draws of four samples."""
    if estimator == "vimco" and "elbo_weight" in options:
        pytest.skip("its signal is that of the bound alone")
    draws = 40_000

    @partial(jax.jit, static_argnums=1)
    def gradients(key, estimator):
        noise = jax.random.normal(key, (draws, 4))

        def one(noise):
            return jax.grad(lambda t: bound(t, noise[:, None], estimator, **options)[0])(THETA)

        return jnp.stack(jax.vmap(one)(noise))

    plain = np.float64(gradients(jax.random.key(0), "reparametrized"))
    other = np.float64(gradients(jax.random.key(1), estimator))
    error = np.sqrt((plain.var(1) + other.var(1)) / draws)
    assert np.all(np.abs(plain.mean(1) - other.mean(1)) < 5 * error)
    if estimator == "dreg":
        assert other[:2].var() < plain[:2].var()  # which it is for


@pytest.mark.parametrize("groups", [1, 2])
def test_doubly_reparametrized_gradients_are_the_formula(groups):
    """``sum_k w_k^2 dlog w_k/dz dz/dphi`` for q, ``sum_k w_k dlog w_k/dtheta`` for the model."""
    noise = RNG.normal(size=(4, 1))
    mean, log_scale, offset = THETA
    z = mean + np.exp(log_scale) * noise[:, 0]
    residual = X - z - offset
    log_q = -0.5 * noise[:, 0] ** 2 - log_scale - 0.9189385
    log_weight = -0.5 * residual**2 - 0.5 * z**2 - 2 * 0.9189385 - log_q
    w = np.concatenate([softmax(part) for part in np.split(log_weight, groups)])
    slope = residual - z + noise[:, 0] * np.exp(-log_scale)  # dlog w/dz
    spread = np.exp(log_scale) * noise[:, 0]
    want = [(w**2 * slope).sum(), (w**2 * slope * spread).sum(), (w * residual).sum()]
    got = jax.jit(jax.grad(lambda t: bound(t, noise, "dreg", groups=groups)[0]))(THETA)
    np.testing.assert_allclose(got, np.array(want) / groups, rtol=1e-4)


def test_the_path_is_scaled_whatever_the_weight_of_an_example():
    """Of a masked example, whose weight is 0, no gradient is left, and no NaN."""
    noise = jnp.asarray(RNG.normal(size=(3, 2)))

    def loss(theta, weights):
        return (weights * bound(theta, noise, "dreg")).sum()

    one = jax.jit(jax.grad(loss))(THETA, jnp.array([2.0, 0.0]))
    alone = jax.jit(jax.grad(lambda t: 2.0 * bound(t, noise[:, :1], "dreg")[0]))(THETA)
    np.testing.assert_allclose(one, alone, rtol=1e-5)
