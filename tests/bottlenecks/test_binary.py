"""Binary latents against sums over all codes."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.special import expit, logsumexp

from ae_jax import fit
from ae_jax.bottlenecks import Binary, Gaussian
from ae_jax.core import init_state
from ae_jax.evaluation.likelihood import log_likelihood
from ae_jax.likelihoods import Bernoulli
from ae_jax.models import AE, ELBO, IWAE, Jacobian
from ae_jax.networks import MLP
from ae_jax.priors import BinaryPrior, StandardNormal

BITS = 3
ALL = np.array(list(itertools.product((0.0, 1.0), repeat=BITS)), np.float32)
SPEC = AE(
    network=MLP(widths=(6,), activation="tanh"),
    bottleneck=Binary(latent_dim=BITS),
    prior=BinaryPrior(),
    likelihood=Bernoulli(),
    bound=IWAE(samples=2, estimator="vimco"),
)
X = np.float32(np.random.default_rng(0).integers(0, 2, (4, 5)))


@pytest.fixture(scope="module")
def model():
    ae = SPEC.build((5,))
    params = init_state(ae, optax.sgd(0.1), jax.random.key(0)).params
    params["prior"]["logits"] = jnp.array([0.5, -1.0, 2.0])
    return ae, {"params": jax.tree.map(lambda leaf: 2 * leaf, params)}


def exact(ae, variables, x):
    """log p(x, z) and log q(z | x) of every code z: [8, B], in float64."""
    joint, posterior = [], []
    prior = np.float64(variables["params"]["prior"]["logits"])
    outputs = ae.outputs(variables, {"x": x})
    logits = np.float64(outputs["latent_logits"])
    for z in ALL:
        code = np.broadcast_to(z, (len(x), BITS))
        recon = np.clip(np.float64(ae.decode(variables, code)), 1e-12, 1)
        likelihood = np.log(np.where(x == 1, recon, 1 - recon)).sum(-1)
        of_prior = np.log(np.where(z == 1, expit(prior), expit(-prior))).sum()
        joint.append(likelihood + of_prior)
        posterior.append(np.log(np.where(z == 1, expit(logits), expit(-logits))).sum(-1))
    return np.array(joint), np.array(posterior)


def test_densities_of_all_codes_sum_to_one(model):
    ae, variables = model
    _, posterior = exact(ae, variables, X)
    np.testing.assert_allclose(np.exp(posterior).sum(0), 1, rtol=1e-6)
    module = BinaryPrior().module(BITS, (5,))
    params = {"params": variables["params"]["prior"]}
    log_prob = module.apply(params, jnp.asarray(ALL), method="log_prob")
    assert np.exp(np.float64(log_prob)).sum() == pytest.approx(1, rel=1e-6)


def test_samples_have_the_frequencies_of_their_densities(model):
    ae, variables = model
    outputs = jax.vmap(lambda key: ae.outputs(variables, {"x": X}, rngs={"latent": key})["z"])(
        jax.random.split(jax.random.key(0), 4000)
    )
    logits = ae.outputs(variables, {"x": X})["latent_logits"]
    np.testing.assert_allclose(outputs.mean(0), jax.nn.sigmoid(logits), atol=0.03)
    drawn = ae.apply(variables, 8000, rngs={"latent": jax.random.key(1)}, method="sample")["z"]
    share = jax.nn.sigmoid(variables["params"]["prior"]["logits"])
    np.testing.assert_allclose(drawn.mean(0), share, atol=0.02)


def test_weights_estimate_the_sum_over_all_codes(model):
    ae, variables = model
    joint, _ = exact(ae, variables, X)
    bound = log_likelihood(ae, variables, {"x": X}, samples=4000)
    np.testing.assert_allclose(bound, logsumexp(joint, axis=0), atol=0.03)


def test_the_gradient_is_that_of_the_sum_over_all_pairs_of_codes(model):
    """VIMCO's gradient in expectation, against that of the bound of two samples, exact."""
    ae, variables = model
    params = variables["params"]

    def at(bias):
        return {"params": {**params, "latent_logits": {**params["latent_logits"], "bias": bias}}}

    def bound(bias):
        joint, posterior = exact(ae, at(jnp.float32(bias)), X)
        weight = joint - posterior
        pairs = np.logaddexp(weight[:, None], weight[None]) - np.log(2)
        return (np.exp(posterior[:, None] + posterior[None]) * pairs).sum((0, 1)).mean()

    start = np.float64(params["latent_logits"]["bias"])
    finite = [(bound(start + 1e-3 * e) - bound(start - 1e-3 * e)) / 2e-3 for e in np.eye(BITS)]

    def loss(bias, rng):
        outputs = ae.outputs(at(bias), {"x": X}, rngs={"latent": rng})
        return -ae.objective["iwae"].fn(outputs, {"x": X}).mean()

    keys = jax.random.split(jax.random.key(2), 20_000)
    each = jax.jit(jax.vmap(jax.grad(loss), (None, 0)))(jnp.float32(start), keys)
    error = np.std(each, axis=0) / np.sqrt(len(keys))
    assert (np.abs(np.mean(each, axis=0) - np.array(finite)) < 4 * error + 1e-4).all()


def test_it_learns_what_two_bits_can_say():
    rng = np.random.default_rng(0)
    x = np.repeat(rng.integers(0, 2, (64, 2)), 4, axis=1).astype(np.float32)
    spec = AE(
        network=MLP(widths=(16,)),
        bottleneck=Binary(latent_dim=4),
        prior=BinaryPrior(),
        likelihood=Bernoulli(),
        bound=IWAE(samples=8, estimator="vimco"),
    )
    ae = spec.build((8,))
    state, _ = fit(ae, {"x": x}, epochs=150, batch_size=64, optimizer=optax.adam(0.02))
    bound = log_likelihood(ae, state.variables, {"x": x}, samples=200).mean()
    assert bound > -2.2  # two fair bits: -2 log 2 = -1.39; without latents -8 log 2 = -5.5


def test_numbers_between_bits_are_decoded_as_bits(model):
    ae, variables = model
    got = ae.decode(variables, jnp.float32([[0.2, 0.7, -3.0], [1.4, 0.49, 0.51]]))
    want = ae.decode(variables, jnp.float32([[0, 1, 0], [1, 0, 1]]))
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"bound": ELBO()}, "Binary samples carry no gradient: use bound=IWAE"),
        ({"bound": IWAE(samples=2, estimator="dreg")}, "samples carry no gradient: use 'vimco'"),
        ({"prior": StandardNormal()}, "use BinaryPrior"),
        (
            {"bottleneck": Gaussian()},
            "the latents of Gaussian live in the space .real.: use StandardNormal",
        ),
        ({"penalties": (Jacobian(),)}, "discrete latents have no Jacobian"),
    ],
)
def test_parts_that_do_not_fit_are_one_line(parts, message):
    with pytest.raises(ValueError, match=message):
        AE(**{**vars(SPEC), **parts})
