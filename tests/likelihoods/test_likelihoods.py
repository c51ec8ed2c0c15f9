"""Every likelihood is a distribution over its support, with its own mean and its own draws."""

from functools import cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ae_jax import losses
from ae_jax.data import validated
from ae_jax.likelihoods import (
    Bernoulli,
    BetaBinomial,
    Categorical,
    ContinuousBernoulli,
    DiscretizedLogisticMixture,
    GaussianLikelihood,
    NegativeBinomial,
    Poisson,
)
from ae_jax.models import AE, ImportanceWeighted, Variational
from ae_jax.networks import MLP, RNN, ConvNet
from ae_jax.training import fit

RNG = np.random.default_rng(0)
DRAWS = 5000
RARE = 5 / DRAWS  # as often as what is not drawn once by chance
BYTES = np.arange(256) / 255
NODES, AREAS = np.polynomial.legendre.leggauss(400)


class Case(NamedTuple):
    likelihood: object
    support: np.ndarray  # values of x ...
    weights: np.ndarray | float = 1.0  # ... and of a density, their shares of a quadrature
    mean_error: float = 1e-5
    scale: float = 1.5  # of the decoder's numbers


CASES = {
    "bernoulli": Case(Bernoulli(), np.arange(2.0)),
    "continuous_bernoulli": Case(ContinuousBernoulli(), (NODES + 1) / 2, AREAS / 2, scale=4.0),
    "gaussian": Case(GaussianLikelihood(variance=0.3), 9 * NODES, 9 * AREAS),
    "element_gaussian": Case(
        GaussianLikelihood(variance=0.3, per_element=True), 20 * NODES, 20 * AREAS, scale=1.0
    ),
    "categorical": Case(Categorical(), BYTES),
    "beta_binomial": Case(BetaBinomial(), BYTES),
    # Half a level: its mean is that of logistics that are not discretized.
    "mixture": Case(DiscretizedLogisticMixture(components=3), BYTES, mean_error=0.5 / 255),
    "poisson": Case(Poisson(), np.arange(500.0), mean_error=1e-3),
    "negative_binomial": Case(NegativeBinomial(), np.arange(20_000.0), mean_error=1e-3),
}
each = pytest.mark.parametrize("name", CASES)


@cache
def distribution(name):
    """A decoder's output [6, ...], its outputs, and p(x) of every x of the support, [6, values], in
    float64; of a density, times the weights of the quadrature."""
    case = CASES[name]
    module, count = case.likelihood.module((1,)), len(case.support)
    shape = case.likelihood.output_shape((1,))
    h = jnp.float32(case.scale * np.random.default_rng(1).normal(size=(6, *shape)))
    x = jnp.float32(np.tile(case.support, len(h)))[:, None]

    @jax.jit
    def log_prob(h):
        outputs = module.apply({}, jnp.repeat(h, count, axis=0))
        return module.apply({}, outputs, {"x": x}, method="log_prob")

    p = np.exp(np.float64(log_prob(h))).reshape(len(h), count)
    return h, module.apply({}, h), p * case.weights


@each
def test_probabilities_sum_to_one(name):
    """A sum over the support, or a quadrature."""
    np.testing.assert_allclose(distribution(name)[2].sum(1), 1.0, rtol=2e-5)


@each
def test_the_reconstruction_is_the_mean(name):
    case, (_, outputs, p) = CASES[name], distribution(name)
    recon = outputs.get("recon", jax.nn.sigmoid(outputs.get("logits", 0.0)))
    mean = (p * case.support).sum(1)
    np.testing.assert_allclose(recon[:, 0], mean, rtol=1e-5, atol=case.mean_error)


@each
def test_draws_have_the_moments_and_the_support(name):
    """The mean and the variance, and a mean score of zero, within 5 standard errors."""
    case, (h, _, p) = CASES[name], distribution(name)
    module, p = case.likelihood.module((1,)), p[0]
    mean = (p * case.support).sum()

    @jax.jit
    def draw(h, key):
        outputs = module.apply({}, h)
        x = module.apply({}, outputs, rngs={"latent": key}, method="sample")

        def log_prob(h, x):
            return module.apply({}, module.apply({}, h), {"x": x}, method="log_prob").sum()

        return x, jax.grad(log_prob)(h, x)

    x, scores = draw(jnp.repeat(h[:1], DRAWS, axis=0), jax.random.key(0))
    assert x.shape == (DRAWS, 1) and x.dtype == jnp.float32
    validated(x, support=case.likelihood.support)
    squares = np.square(np.float64(x[:, 0]) - mean)
    for value, expected in (
        (np.float64(x[:, 0]), mean),
        (squares, (p * np.square(case.support - mean)).sum()),
        *((score, 0.0) for score in np.float64(scores).reshape(DRAWS, -1).T),
    ):
        assert abs(value.mean() - expected) <= 5 * value.std() / DRAWS**0.5 + RARE


class TestColors:
    """Pixels of three channels, which share a component and depend on each other."""

    params = jnp.float32(RNG.normal(size=(1, 10, 4)))

    def test_probabilities_of_all_colors_sum_to_one(self):
        colors = np.stack(np.meshgrid(*[np.arange(8)] * 3), -1).reshape(-1, 3)
        params = jnp.repeat(self.params, len(colors), axis=0)
        nll = losses.discretized_logistic_mixture_nll(params, colors, levels=8)
        np.testing.assert_allclose(np.exp(-np.float64(nll)).sum(), 1.0, rtol=1e-5)

    def test_channels_depend_on_those_before(self):
        """Equation 3 of the paper by hand: each component is a chain of single elements."""
        x = np.float64([[37, 120, 201]])
        scaled = 2 * x[0] / 255 - 1
        p = np.float64(self.params[0])
        c = np.tanh(p[7:])
        means = [p[1], p[2] + c[0] * scaled[0], p[3] + c[1] * scaled[0] + c[2] * scaled[1]]
        total = 0.0
        for k, weight in enumerate(np.exp(p[0]) / np.exp(p[0]).sum()):
            for channel in range(3):
                one = np.array([[[0.0], [means[channel][k]], [p[4 + channel, k]]]])
                nll = losses.discretized_logistic_mixture_nll(one, x[:, channel])
                weight *= np.exp(-np.float64(nll[0]))
            total += weight
        for reduction, size in (("sum", 1), ("mean", 3)):
            nll = losses.discretized_logistic_mixture_nll(self.params, x, reduction=reduction)
            np.testing.assert_allclose(nll, -np.log(total) / size, rtol=1e-5)

    def test_where_masks_whole_pixels(self):
        x = RNG.integers(0, 256, size=(2, 3, 3))
        params = jnp.float32(RNG.normal(size=(2, 3, 10, 2))).at[:, 1].set(jnp.nan)
        where = np.array([True, False, True])[:, None]

        def loss(params):
            return losses.discretized_logistic_mixture_nll(params, x, where=where).sum()

        value, grad = jax.value_and_grad(loss)(params)
        kept = losses.discretized_logistic_mixture_nll(params[:, ::2], x[:, ::2])
        np.testing.assert_allclose(value, kept.sum(), rtol=1e-6)
        assert jnp.isfinite(grad).all() and (grad[:, 1] == 0).all()

    def test_draws_and_mean(self):
        """The score has mean zero in each of the 10 K numbers, within 5 standard errors. Draws
        have the mean that is reconstructed, where none is cut off."""
        likelihood = DiscretizedLogisticMixture(components=4)
        params = self.params.at[:, 4:7].add(-3.0)
        x = likelihood.sample(jax.random.key(0), jnp.repeat(params[:, None], DRAWS, 0)[:, None])
        validated(x, support="bytes")

        @jax.jit
        @jax.vmap
        def score(x):
            return jax.grad(lambda p: likelihood.nll(p[:, None, None], x[None]).sum())(params)

        scores = np.float64(score(x)).reshape(DRAWS, -1)
        assert (abs(scores.mean(0)) <= 5 * scores.std(0) / DRAWS**0.5 + RARE).all()
        inside = params.at[:, 1:4].multiply(0.2).at[:, 7:].multiply(0.3)
        x = likelihood.sample(jax.random.key(1), jnp.repeat(inside[:, None], DRAWS, 0)[:, None])
        x = np.float64(x).reshape(DRAWS, 3)
        mean = likelihood.mean(inside)[0]
        assert (abs(x.mean(0) - mean) <= 5 * x.std(0) / DRAWS**0.5 + 5e-3).all()

    def test_wrong_shapes_are_named(self):
        loss, x = losses.discretized_logistic_mixture_nll, np.zeros((2, 4, 3))
        with pytest.raises(ValueError, match=r"params has shape \(2, 4, 9, 5\), x \(2, 4, 3\)"):
            loss(np.zeros((2, 4, 9, 5)), x)
        with pytest.raises(ValueError, match="its last axis is 1 for colors"):
            loss(np.zeros((2, 4, 10, 5)), x, where=np.ones((4, 3)))
        with pytest.raises(ValueError, match=r"logits has shape \(3, 3\), x \(2,\): needs"):
            losses.categorical_nll(np.zeros((3, 3)), np.zeros(2))


def test_the_variance_of_an_element_has_bounds():
    likelihood = GaussianLikelihood(variance=0.5, per_element=True)
    h = jnp.float32([[[0.3, -1e6]], [[0.3, 0.0]], [[0.3, 1e6]]])
    variance = np.exp(likelihood.module((1,)).apply({}, h)["recon_logvar"][:, 0])
    np.testing.assert_allclose(variance, [0.5e-4, 0.5, 0.5e4], rtol=1e-5)


@pytest.mark.parametrize("network", [MLP(), ConvNet(filters=(2,)), RNN(widths=(2,))])
def test_any_network_gives_the_numbers_that_a_likelihood_needs(network):
    images = [(4, 6), (4, 6, 1), (4, 6, 3)]
    likelihood = DiscretizedLogisticMixture(components=2)
    spec = ImportanceWeighted(network=network, likelihood=likelihood)
    for shape in images if isinstance(network, ConvNet) else [(4,), *images]:
        ae, x = spec.build(shape), jax.ShapeDtypeStruct((2, *shape), np.float32)

        def both(x, ae=ae):
            variables = ae.module.init(jax.random.key(0), x)
            outputs = ae.outputs(variables, {"x": x})
            return outputs["log_weight"], outputs["recon"], ae.reconstruct(variables, x)

        shapes = [leaf.shape for leaf in jax.eval_shape(both, x)]
        assert shapes == [(1, 2), (2, *shape), (2, *shape)]


def test_a_name_is_a_likelihood():
    names = {"learned_gaussian": GaussianLikelihood(learned=True, variance=0.3)}
    names |= {"mixture": DiscretizedLogisticMixture(), "poisson": Poisson()}
    for name, likelihood in names.items():
        name = name.replace("mixture", "discretized_logistic_mixture")
        assert Variational(likelihood=name, variance=0.3).parts().likelihood == likelihood


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DiscretizedLogisticMixture(components=0), "components=0: must be at least 1"),
        (
            lambda: GaussianLikelihood(learned=True, per_element=True),
            "per_element=True: a variance is one for all elements, or one for each",
        ),
        (
            lambda: AE(tied=True, likelihood=Categorical()),
            r"likelihood=Categorical\(\): tied weights give one number per element",
        ),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(make, message):
    with pytest.raises(ValueError, match=message) as error:
        make()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("likelihood", "x", "message"),
    [
        ("poisson", np.full((4, 3), 0.5), "x has the value 0.5, and the likelihood needs counts"),
        ("categorical", np.full((4, 3), 0.3), "x has the value 0.3, .* needs 8-bit pixels"),
        (
            "continuous_bernoulli",
            np.full((4, 3), 1.5),
            r"x has values in \[1.5, 1.5\], and the loss",
        ),
    ],
)
def test_data_outside_the_support_is_refused_before_training(likelihood, x, message):
    ae = Variational(likelihood=likelihood).build((3,))
    with pytest.raises(ValueError, match=message) as error:
        fit(ae, x, epochs=1, batch_size=2, optimizer=optax.sgd(0.1))
    assert "\n" not in str(error.value)
