"""Learned priors: their densities on a grid, their samples, and closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.special import logsumexp
from scipy.stats import norm

from ae_jax import fit, sweep
from ae_jax.models import ImportanceWeighted, Variational
from ae_jax.networks import MLP
from ae_jax.priors import FlowPrior, MixtureOfGaussians, StandardNormal, VampPrior

RNG = np.random.default_rng(0)
EVENT = (3,)
KERNEL = np.float32(RNG.normal(size=(2, 3, 2)))


def posterior(x):
    """Of three inputs in two latents."""
    mean, logvar = x @ KERNEL
    return {"mean": 2 * mean, "logvar": logvar - 1}


PRIORS = {
    "normal": StandardNormal(),
    "mixture": MixtureOfGaussians(components=3),
    "vamp": VampPrior(pseudo_inputs=4),
    "realnvp": FlowPrior(steps=2, widths=(5,), activation="tanh"),
    "maf": FlowPrior(flow="maf", steps=2, widths=(8,), activation="tanh"),
}


def made(prior, *, unit_interval=True):
    """The module for two latents, and parameters far from those at the start."""
    module = prior.module(2, EVENT, unit_interval=unit_interval)
    z = jnp.zeros((1, 2))

    def init(key):
        return module.init(key, z, posterior, method="log_prob")

    shapes = jax.eval_shape(init, jax.random.key(0))
    return module, jax.tree.map(lambda s: jnp.float32(0.6 * RNG.normal(size=s.shape)), shapes)


def log_prob_of(module, variables, z):
    log_prob = jax.jit(lambda v, z: module.apply(v, z, posterior, method="log_prob"))
    return np.float64(log_prob(variables, jnp.float32(z)))


@pytest.mark.parametrize("name", PRIORS)
def test_densities_integrate_to_one_and_samples_have_their_moments(name):
    module, variables = made(PRIORS[name])
    axis = np.linspace(-14, 14, 351)
    z = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)
    log_prob = log_prob_of(module, variables, z)
    weight = np.exp(log_prob) * (axis[1] - axis[0]) ** 2
    assert weight.sum() == pytest.approx(1, abs=2e-3)
    mean = weight @ z
    covariance = (z - mean).T @ (weight[:, None] * (z - mean))

    @jax.jit
    def sample(variables, key):
        return module.apply(variables, 20_000, posterior, rngs={"latent": key}, method="sample")

    drawn = sample(variables, jax.random.key(0))
    assert drawn.shape == (20_000, 2) and drawn.dtype == np.float32
    scale = np.sqrt(covariance.diagonal().max())
    np.testing.assert_allclose(drawn.mean(0), mean, atol=0.04 * scale)
    np.testing.assert_allclose(np.cov(np.float64(drawn).T), covariance, atol=0.06 * scale**2)


def mixture(z, means, logvars, weights):
    each = norm.logpdf(z[:, None], means, np.exp(np.float64(logvars) / 2)).sum(2)
    return logsumexp(each + np.log(weights), axis=1)


def test_a_mixture_is_that_of_scipy():
    module, variables = made(PRIORS["mixture"])
    z, p = RNG.normal(size=(7, 2)), variables["params"]
    log_prob = log_prob_of(module, variables, z)
    weights = np.exp(np.float64(p["logits"]))
    exact = mixture(z, p["means"], p["logvars"], weights / weights.sum())
    np.testing.assert_allclose(log_prob, exact, rtol=1e-5)


@pytest.mark.parametrize("unit_interval", [True, False])
def test_a_vamp_prior_is_the_mixture_of_the_posteriors_of_its_inputs(unit_interval):
    module, variables = made(PRIORS["vamp"], unit_interval=unit_interval)
    z, inputs = RNG.normal(size=(7, 2)), np.array(variables["params"]["pseudo_inputs"])
    log_prob = log_prob_of(module, variables, z)
    assert inputs.min() < 0
    of_inputs = posterior(inputs.clip(0, 1) if unit_interval else inputs)
    exact = mixture(z, of_inputs["mean"], of_inputs["logvar"], np.full(4, 0.25))
    np.testing.assert_allclose(log_prob, exact, rtol=1e-5)


def test_pseudo_inputs_start_near_their_mean_and_differ():
    prior = VampPrior(pseudo_inputs=50, mean=0.2, std=0.05)
    given = jnp.zeros((1, 2)), lambda x: posterior(x[:, :3])
    variables = prior.module(2, (28,)).init(jax.random.key(0), *given, method="log_prob")
    inputs = variables["params"]["pseudo_inputs"]
    assert inputs.shape == (50, 28)
    np.testing.assert_allclose((inputs.mean(), inputs.std()), (0.2, 0.05), atol=0.005)


def test_a_model_s_vamp_prior_is_made_of_its_own_posteriors(numpy_state):
    """Those of its encoder, for each sample: the log weight less the other two densities."""
    network = MLP(widths=(5,), activation="tanh")
    spec = ImportanceWeighted(
        network=network, latent_dim=2, samples=3, prior=VampPrior(pseudo_inputs=4)
    )
    ae, x = spec.build((4,)), jnp.float32(RNG.uniform(size=(6, 4)))
    variables = numpy_state(ae, optax.identity()).variables
    inputs = jnp.clip(variables["params"]["prior"]["pseudo_inputs"], 0, 1)

    @jax.jit
    def both(variables, key):
        outputs = ae.outputs(variables, {"x": x}, rngs={"latent": key})
        return outputs, ae.outputs(variables, {"x": inputs})

    outputs, of_inputs = both(variables, jax.random.key(0))
    assert outputs["log_prior"].shape == (3, 6)
    z = np.float64(outputs["z"])
    exact = mixture(z, of_inputs["mean"], of_inputs["logvar"], np.full(4, 0.25))
    np.testing.assert_allclose(outputs["log_prior"][0], exact, rtol=1e-4)


def test_more_pseudo_inputs_than_examples_are_refused():
    def make(beta=1.0):
        return Variational(latent_dim=2, beta=beta, prior=VampPrior(pseudo_inputs=11)).build((4,))

    x = np.float32(RNG.uniform(size=(10, 4)))
    message = "^pseudo_inputs=11: must be at most 10, the number of examples$"
    with pytest.raises(ValueError, match=message):
        fit(make(), x, epochs=1, batch_size=5)
    with pytest.raises(ValueError, match=message):
        sweep(make, {"beta": [1.0]}, [0], x, epochs=1, batch_size=5)
