"""Likelihoods against the exact ones of linear Gaussian models, in float64."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ae_jax.evaluation.likelihood import (
    bits_per_dimension,
    elbo,
    log_likelihood,
    posterior_metrics,
    posterior_samples,
)
from ae_jax.models import Vanilla, Variational
from ae_jax.networks import MLP, RNN

RNG = np.random.default_rng(0)
D, CODES, ROWS = 5, 2, 30
VARIANCE = 0.3
W = np.linalg.qr(RNG.normal(size=(D, CODES)))[0] * [1.5, 0.6]  # orthogonal columns
B = RNG.normal(size=D)
X = np.float32(
    RNG.normal(size=(ROWS, CODES)) @ W.T + B + VARIANCE**0.5 * RNG.normal(size=(ROWS, D))
)
DATA = {"x": X}
LINEAR = Variational(
    network=MLP(), latent_dim=CODES, likelihood="gaussian", variance=VARIANCE
).build((D,))


def linear_variables(*, spread=1.0, shift=0.0):
    """``x = W z + b + noise``, with its exact posterior, or one that is too wide or shifted.

    W' W is diagonal, so the posterior N(S W'(x - b) / v, S) is too: 1 / S = 1 + diag(W' W) / v.
    """
    covariance = 1 / (1 + (W**2).sum(0) / VARIANCE)
    kernel = W * covariance / VARIANCE
    return jax.tree.map(
        jnp.float32,
        {
            "params": {
                "mean": {"kernel": kernel, "bias": -B @ kernel + shift},
                "logvar": {
                    "kernel": np.zeros((D, CODES)), "bias": np.log(covariance * spread),
                },
                "decoder": {"Dense_0": {"kernel": W.T, "bias": B}},
            }
        },
    )  # fmt: skip


def exact_log_likelihood(x):
    """Of N(b, W W' + v I), in float64."""
    covariance, centered = W @ W.T + VARIANCE * np.eye(D), np.float64(x) - B
    squared = (centered * np.linalg.solve(covariance, centered.T).T).sum(1)
    return -0.5 * (D * math.log(2 * math.pi) + np.linalg.slogdet(covariance)[1] + squared)


def test_with_the_exact_posterior_every_bound_is_the_likelihood():
    exact = exact_log_likelihood(X)
    one = log_likelihood(LINEAR, linear_variables(), DATA, samples=1)
    np.testing.assert_allclose(one, exact, rtol=2e-5)
    many = log_likelihood(LINEAR, linear_variables(), DATA, samples=70)
    np.testing.assert_allclose(many, exact, rtol=2e-5)
    # The ELBO's KL is exact and its nll is not: the mean of many samples is near.
    parts = elbo(LINEAR, linear_variables(), DATA, samples=4000)
    np.testing.assert_allclose(parts["elbo"], exact, atol=0.15)


@pytest.mark.slow
def test_many_samples_of_a_wrong_posterior_approach_the_likelihood():
    wrong = linear_variables(spread=2.0, shift=0.2)
    exact = exact_log_likelihood(np.repeat(X, 40, axis=0))  # each many times, to average noise
    many = {"x": np.repeat(X, 40, axis=0)}
    one, ten, most = (log_likelihood(LINEAR, wrong, many, samples=k) for k in (1, 10, 2000))
    assert (exact - one).mean() > 0.3 > (exact - ten).mean() > 0.03 > abs((exact - most).mean())
    np.testing.assert_allclose(most, exact, atol=0.2)


def test_the_bound_is_the_likelihood_less_the_divergence_of_the_posterior():
    """log p(x) - ELBO = KL(q || p(z | x)) (Kingma & Welling, equation 1), here in closed form."""
    parts = elbo(LINEAR, linear_variables(spread=2.0), DATA, samples=4000)
    divergence = CODES * 0.5 * (2.0 - 1 - math.log(2.0))
    gap = exact_log_likelihood(X) - parts["elbo"]
    np.testing.assert_allclose(gap.mean(), divergence, atol=0.02)
    np.testing.assert_allclose(parts["elbo"], -parts["nll"] - parts["kl"], rtol=1e-6)


def test_one_sample_is_the_bound_with_the_same_noise():
    """``log p(x | z) + log p(z) - log q(z | x)`` by hand, at the z that both draw."""
    variables = linear_variables(spread=2.0, shift=0.2)
    z = np.float64(posterior_samples(LINEAR, variables, DATA))
    params = jax.tree.map(np.float64, variables["params"])
    mean = X @ params["mean"]["kernel"] + params["mean"]["bias"]
    logvar = params["logvar"]["bias"]

    def log_normal(x, mean, variance):
        return -0.5 * (np.log(2 * np.pi * variance) + (x - mean) ** 2 / variance).sum(1)

    log_px = log_normal(X, z @ W.T + B, np.full(D, VARIANCE))
    ratio = log_normal(z, 0, np.ones(CODES)) - log_normal(z, mean, np.exp(logvar))
    one = log_likelihood(LINEAR, variables, DATA, samples=1)
    np.testing.assert_allclose(one, log_px + ratio, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(elbo(LINEAR, variables, DATA)["nll"], -log_px, rtol=1e-5)


def test_does_not_depend_on_batches_and_chunks():
    wrong = linear_variables(spread=2.0)
    whole = log_likelihood(LINEAR, wrong, DATA, samples=150)
    for size in (30, 7):  # chunks of 66 (a part of the last is left out) and of all
        parts = log_likelihood(LINEAR, wrong, DATA, samples=150, batch_size=size)
        np.testing.assert_allclose(parts, whole, rtol=1e-5)
    again = log_likelihood(LINEAR, wrong, DATA, samples=150, seed=1)
    assert (again != whole).any()


@pytest.mark.parametrize(
    "likelihood",
    ["bernoulli", pytest.param("gaussian", marks=pytest.mark.slow), "learned_gaussian"],
)
def test_is_finite_for_extreme_inputs(likelihood):
    ae = Variational(network=MLP(), latent_dim=CODES, likelihood=likelihood).build((D,))
    variables = linear_variables()
    if likelihood == "learned_gaussian":
        variables["params"]["recon_logvar"] = jnp.float32(-20.0)
    x = X.copy()
    x[0], x[1] = 1e4, -1e4
    if likelihood == "bernoulli":
        x = np.float32(x > 0)
        variables["params"]["decoder"]["Dense_0"]["kernel"] *= 1e5
    found = log_likelihood(ae, variables, {"x": x}, samples=20)
    assert np.isfinite(found).all()
    assert all(np.isfinite(part).all() for part in elbo(ae, variables, {"x": x}).values())


def test_padded_steps_change_nothing():
    ae = Variational(network=RNN(widths=(3,)), latent_dim=2).build((4, 2))
    x = np.float32(RNG.uniform(size=(6, 4, 2)))
    length = np.int32([4, 3, 2, 1, 4, 2])
    variables = jax.jit(ae.module.init)(jax.random.key(0), x, length=length)
    other = np.where(np.arange(4)[:, None] < length[:, None, None], x, 0.5)
    found = [
        log_likelihood(ae, variables, {"x": each, "length": length}, samples=5)
        for each in (x, np.float32(other))
    ]
    np.testing.assert_array_equal(*found)


def test_posterior_figures_are_those_of_each_code():
    figures = posterior_metrics(LINEAR, linear_variables(), DATA)
    params = jax.tree.map(np.float64, linear_variables()["params"])
    mean = X @ params["mean"]["kernel"] + params["mean"]["bias"]
    variance = np.exp(params["logvar"]["bias"])
    kl = 0.5 * (variance + mean**2 - 1 - np.log(variance)).mean(0)
    np.testing.assert_allclose(figures["kl"], kl, rtol=1e-5)
    np.testing.assert_allclose(figures["mean_variance"], mean.var(0), rtol=1e-5)
    assert figures["active_units"] == 2
    collapsed = linear_variables()
    kernel = collapsed["params"]["mean"]["kernel"]
    collapsed["params"]["mean"]["kernel"] = kernel.at[:, 1].set(0.0)
    assert posterior_metrics(LINEAR, collapsed, DATA)["active_units"] == 1
    total = elbo(LINEAR, linear_variables(), DATA)["kl"].mean()
    np.testing.assert_allclose(figures["kl"].sum(), total, rtol=1e-5)


def test_posterior_samples_have_the_posteriors_moments():
    data = {"x": np.repeat(X[:1], 4000, axis=0)}
    z = posterior_samples(LINEAR, linear_variables(), data)
    variance = 1 / (1 + (W**2).sum(0) / VARIANCE)
    np.testing.assert_allclose(z.mean(0), (X[0] - B) @ W * variance / VARIANCE, atol=0.03)
    np.testing.assert_allclose(z.var(0), variance, rtol=0.1)


def test_bits_per_dimension():
    """With a density of 1 from 0 to 1, each of 256 levels 1/255 apart has probability 1/255."""
    assert bits_per_dimension(10 * math.log(2), 10) == pytest.approx(1.0)
    assert bits_per_dimension(0.0, 10, levels=256) == pytest.approx(math.log2(255))


def test_refuses_what_has_no_likelihood():
    ae = Vanilla(latent_dim=2).build((D,))
    for fn in (elbo, posterior_metrics, posterior_samples):
        with pytest.raises(ValueError, match="Vanilla has no likelihood: its module defines no"):
            fn(ae, {}, DATA)
    with pytest.raises(ValueError, match="samples=0: must be at least 1"):
        log_likelihood(LINEAR, linear_variables(), DATA, samples=0)
