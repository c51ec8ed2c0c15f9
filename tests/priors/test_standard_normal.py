"""The prior N(0, I) against SciPy."""

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

from ae_jax.losses import gaussian_kl
from ae_jax.priors import StandardNormal

RNG = np.random.default_rng(0)
PRIOR = StandardNormal().module(3, (5,))


def test_the_kl_of_each_latent_adds_up_to_that_of_all():
    mean, logvar = np.float32(RNG.normal(size=(2, 7, 4)))
    outputs = {"mean": jnp.asarray(mean), "logvar": jnp.asarray(logvar)}
    each = StandardNormal().latent_kl(outputs)
    exact = (np.exp(np.float64(logvar)) + np.float64(mean) ** 2 - 1 - logvar) / 2
    np.testing.assert_allclose(each, exact, rtol=1e-5)
    np.testing.assert_allclose(each.sum(1), gaussian_kl(mean, logvar), rtol=1e-6)
    np.testing.assert_array_equal(StandardNormal().kl(outputs), gaussian_kl(mean, logvar))
    module = PRIOR.apply({}, outputs, method="latent_kl")
    np.testing.assert_array_equal(module, each)


def test_quantiles_and_densities_are_those_of_scipy():
    u = np.float32([[1e-6, 0.01, 0.3], [0.5, 0.975, 1 - 1e-4]])
    z = PRIOR.apply({}, u, method="quantile")
    np.testing.assert_allclose(z, stats.norm.ppf(np.float64(u)), rtol=1e-5, atol=1e-6)
    log_prob = PRIOR.apply({}, z, method="log_prob")
    np.testing.assert_allclose(log_prob, stats.norm.logpdf(np.float64(z)).sum(1), rtol=1e-6)


def test_draws_are_standard_normal():
    z = PRIOR.apply({}, 20_000, rngs={"latent": jax.random.key(0)}, method="sample")
    assert z.shape == (20_000, 3)
    np.testing.assert_allclose(np.cov(z.T), np.eye(3), atol=0.03)
    assert min(stats.kstest(column, "norm").pvalue for column in np.float64(z).T) > 1e-3
