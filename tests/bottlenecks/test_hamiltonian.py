"""Hamiltonian moves against the properties of the flow, and a model whose likelihood is known."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.stats import multivariate_normal

from ae_jax import sweep
from ae_jax.bottlenecks import Gaussian, Hamiltonian
from ae_jax.core import init_state
from ae_jax.evaluation.likelihood import elbo, log_likelihood
from ae_jax.likelihoods import Bernoulli, GaussianLikelihood
from ae_jax.models import AE, IWAE
from ae_jax.networks import MLP

CURVES = np.array([[2.0, 0.3], [0.3, 0.5]])


def slope(z):
    """Of ``-1/2 z^T A z - 1/4 sum z^4``."""
    return -z @ jnp.asarray(CURVES, z.dtype) - z**3


def move(spec, z, seed=0, **params):
    """The bottleneck's move of z [B, 2], whose density before it is 0."""
    start = {"step_size": jnp.full(2, -2.0), "tempering": jnp.zeros(())} | params
    if spec.tempering == 1:
        start.pop("tempering")
    rngs = {"latent": jax.random.key(seed)}
    outputs = {"z": z, "log_posterior": jnp.zeros(len(z))}
    heads = {
        name: {"kernel": jnp.zeros((1, 2)), "bias": jnp.zeros(2)} for name in ("mean", "logvar")
    }
    variables = {"params": {**start, **heads}}
    return spec.module().apply(variables, outputs, slope, rngs=rngs, method="move")


def reference(z, noise, *, steps, size, tempering):
    """Algorithm 1 of the paper, in float64."""
    inverse = tempering**-0.5
    roots = [1 / ((1 - inverse) * (k / steps) ** 2 + inverse) for k in range(steps + 1)]

    def force(z):
        return -z @ CURVES - z**3

    momentum = noise / roots[0]
    for k in range(1, steps + 1):
        half = momentum + size / 2 * force(z)
        z = z + size * half
        momentum = (half + size / 2 * force(z)) * roots[k - 1] / roots[k]
    return z, momentum


@pytest.mark.parametrize("tempering", [0.3, 1.0])
def test_moves_are_those_of_the_paper(tempering):
    spec = Hamiltonian(latent_dim=2, steps=3, tempering=0.5 if tempering < 1 else 1.0)
    z = np.random.default_rng(0).normal(size=(4, 2))
    logit = np.log(tempering / (1 - tempering)) if tempering < 1 else 0.0
    moved = move(spec, jnp.float32(z), tempering=jnp.float32(logit))
    module = spec.module()
    key = module.apply(
        {}, rngs={"latent": jax.random.key(0)}, method=lambda m: m.make_rng("latent")
    )
    noise = np.float64(jax.random.normal(key, (4, 2)))
    size = 0.5 / (1 + np.exp(2.0))
    want, momentum = reference(z, noise, steps=3, size=size, tempering=tempering)
    np.testing.assert_allclose(moved["z"], want, rtol=1e-5, atol=1e-6)
    weight = 0.5 * (momentum**2 - noise**2).sum(1)  # log N(noise) - log N(momentum)
    np.testing.assert_allclose(moved["log_posterior"], weight, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("tempering", [0.3, 1.0])
def test_moves_keep_the_volume_of_latents_and_momenta(tempering):
    """So that no determinant is missing in the density."""

    def flow(both):
        z, momentum = reference(both[:2], both[2:], steps=3, size=0.3, tempering=tempering)
        return np.concatenate([z, momentum])

    at, small = np.array([0.3, -1.0, 0.7, 0.2]), 1e-6
    columns = [(flow(at + small * e) - flow(at - small * e)) / (2 * small) for e in np.eye(4)]
    assert np.linalg.det(np.stack(columns)) == pytest.approx(1.0, abs=1e-7)


def linear_gaussian(bottleneck):
    """``x = W z + b + noise`` with a poor posterior, and data with its exact log p(x)."""
    ae = AE(
        network=MLP(widths=()), bottleneck=bottleneck, likelihood=GaussianLikelihood(variance=0.5)
    ).build((3,))
    params = dict(init_state(ae, optax.sgd(0.1), jax.random.key(0)).params)
    rng = np.random.default_rng(1)
    weights, bias = rng.normal(size=(2, 3)), rng.normal(size=3)
    params["decoder"] = {"Dense_0": {"kernel": jnp.float32(weights), "bias": jnp.float32(bias)}}
    gain = weights.T @ np.linalg.inv(weights @ weights.T + 0.5 * np.eye(2))  # of the exact mean
    params["mean"] = {"kernel": jnp.float32(gain), "bias": jnp.float32(0.5 - bias @ gain)}
    params["logvar"] = {"kernel": jnp.zeros((3, 2)), "bias": jnp.zeros(2)}
    covariance = weights.T @ weights + 0.5 * np.eye(3)
    x = rng.multivariate_normal(bias, covariance, size=6)
    exact = multivariate_normal(bias, covariance).logpdf(x)
    return ae, {"params": params}, {"x": np.float32(x)}, exact


@pytest.fixture(scope="module")
def moved():
    return linear_gaussian(Hamiltonian(latent_dim=2, steps=3, step_size=0.2, tempering=0.7))


def test_weights_estimate_the_exact_likelihood(moved):
    ae, variables, data, exact = moved
    bound = log_likelihood(ae, variables, data, samples=4000)
    np.testing.assert_allclose(bound, exact, atol=0.05)


def test_moves_bring_the_bound_nearer_to_the_likelihood(moved):
    ae, variables, data, exact = moved
    plain, start, _, _ = linear_gaussian(Gaussian(latent_dim=2))
    ours = elbo(ae, variables, data, samples=200)["elbo"].mean()
    theirs = elbo(plain, start, data, samples=200)["elbo"].mean()
    assert theirs < ours - 0.2 * (exact.mean() - theirs) and ours < exact.mean()


def test_steps_of_no_size_change_nothing(moved):
    ae, variables, data, _ = moved
    still = {**variables["params"], "step_size": jnp.full(2, -80.0)}
    still |= {"tempering": jnp.float32(30.0)}
    rngs = {"latent": jax.random.key(3)}
    outputs = ae.outputs({"params": still}, data, rngs=rngs)
    plain, start, _, _ = linear_gaussian(Gaussian(latent_dim=2))
    expected = plain.outputs(start, data, rngs=rngs)
    np.testing.assert_allclose(outputs["z"], expected["z"], atol=1e-6)
    noise = np.asarray(expected["z"] - expected["mean"])
    log_q = multivariate_normal(np.zeros(2)).logpdf(noise)
    np.testing.assert_allclose(outputs["log_posterior"], log_q, rtol=1e-5)


def test_the_steps_and_the_tempering_learn(moved):
    ae, variables, data, _ = moved

    def loss(params):
        outputs = ae.outputs({"params": params}, data, rngs={"latent": jax.random.key(0)})
        return sum(term.fn(outputs, data).mean() for term in ae.objective.values())

    value, gradient = jax.jit(jax.value_and_grad(loss))(variables["params"])
    assert np.isfinite(value)
    for name in ("step_size", "tempering"):
        assert np.all(np.abs(gradient[name]) > 1e-4)
        moved_by = {**variables["params"]}
        each = []
        for sign in (1, -1):
            each.append(loss({**moved_by, name: variables["params"][name] + sign * 1e-2}))
        finite = (each[0] - each[1]) / 2e-2
        np.testing.assert_allclose(gradient[name].sum(), finite, rtol=0.03, atol=1e-3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "steps=0: must be at least 1"),
        ({"step_size": 0.5}, "step_size=0.5: must be between 0 and largest_step=0.5"),
        ({"tempering": 0.0}, r"tempering=0.0: must be in \(0, 1\]"),
        ({"tempering": 1.1}, "tempering=1.1"),
    ],
)
def test_bad_options_are_one_line(options, message):
    with pytest.raises(ValueError, match=message):
        Hamiltonian(latent_dim=2, **options)


@pytest.mark.slow
def test_its_numbers_are_swept_in_one_program():
    x = np.float32(np.random.default_rng(0).uniform(size=(16, 4)))

    def make(**options):
        bottleneck = Hamiltonian(latent_dim=2, steps=1, **options)
        return AE(network=MLP(), bottleneck=bottleneck, likelihood=Bernoulli()).build((4,))

    grid = {"step_size": [0.01, 0.3], "tempering": [0.5, 0.9]}
    rows = sweep(make, grid, [0], x, epochs=1, batch_size=8).table()
    assert len({row["loss"] for row in rows}) == 4
    alone = sweep(lambda: make(step_size=0.3, tempering=0.9), {}, [0], x, epochs=1, batch_size=8)
    assert rows[-1]["loss"][0] == pytest.approx(alone.table()[0]["loss"][0], rel=1e-5)


def test_chunks_of_samples_are_refused():
    with pytest.raises(ValueError, match="chunk=1: Hamiltonian decodes all samples at once"):
        AE(
            network=MLP(),
            bottleneck=Hamiltonian(latent_dim=2),
            likelihood=Bernoulli(),
            bound=IWAE(samples=2, chunk=1),
        )


def test_an_estimator_that_needs_the_density_elsewhere_is_refused():
    with pytest.raises(ValueError, match="knows its density at its own samples only"):
        AE(
            network=MLP(),
            bottleneck=Hamiltonian(latent_dim=2),
            likelihood=Bernoulli(),
            bound=IWAE(samples=2, estimator="dreg"),
        )
