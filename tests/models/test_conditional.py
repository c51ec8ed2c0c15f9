"""Conditional models: the mathematics of bounds given a condition, and its checks."""

import dataclasses
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ae_jax.core import init_state, reconstruction
from ae_jax.evaluation.conditions import shown_conditions
from ae_jax.evaluation.likelihood import elbo, log_likelihood
from ae_jax.likelihoods import Bernoulli, DiscretizedLogisticMixture, GaussianLikelihood
from ae_jax.models import AE, ELBO, IWAE, Condition, Conditional, Variational
from ae_jax.networks import MLP, ConvNet
from ae_jax.priors import ConditionalNormal, MixtureOfGaussians, StandardNormal, VampPrior
from ae_jax.training import fit

SHAPE = (4, 3)
WIDE = MLP(widths=(9,))
RNG = np.random.default_rng(0)
X = np.float32(RNG.uniform(size=(6, *SHAPE)) < 0.5)
LABEL = np.int32([0, 1, 2, 2, 1, 0])
CLASSES = Condition(classes=3)
KNOWN = RNG.uniform(size=X.shape) < 0.5
SEEN = np.float32(np.where(KNOWN, X, -1.0))
PIXELS = Condition(column="seen", classes=None, shape=SHAPE, unknown=-1.0)
NOISE = {"latent": jax.random.key(1)}


def spec(**options):
    return Conditional(**{"network": WIDE, "latent_dim": 2, "condition": CLASSES, **options})


@cache
def made(model):
    ae = model.build(SHAPE)
    return ae, init_state(ae, optax.identity(), jax.random.key(0)).variables


def with_wide_posterior(variables):
    """Whose weights have no heavy tails: estimates are exact after few draws."""
    params = variables["params"]
    logvar = jax.tree.map(jnp.zeros_like, params["logvar"])
    return {"params": {**params, "logvar": {**logvar, "bias": logvar["bias"] + 1.0}}}


def test_a_condition_that_never_changes_is_a_plain_vae():
    """Its part of the kernels is a bias then: the bounds are equal, in value and in noise."""
    ae, variables = made(spec())
    plain, _ = made(Variational(network=WIDE, latent_dim=2))
    params = variables["params"]
    size = X[0].size

    def without(layer, inputs):
        kernel = layer["kernel"]
        return {"kernel": kernel[:inputs], "bias": layer["bias"] + kernel[inputs + 1]}  # class 1

    encoder, decoder = params["encoder"]["inner"], params["decoder"]["inner"]
    bare = {
        **params,
        "encoder": {**encoder, "Dense_0": without(encoder["Dense_0"], size)},
        "decoder": {**decoder, "Dense_0": without(decoder["Dense_0"], 2)},
    }
    label = np.ones(6, np.int32)
    got = ae.outputs(variables, {"x": X, "label": label}, rngs=NOISE)
    want = plain.outputs({"params": bare}, {"x": X}, rngs=NOISE)
    for name in ("z", "mean", "logvar", "logits"):
        np.testing.assert_allclose(got[name], want[name], rtol=1e-4, atol=1e-6)
    for name in ("nll", "kl"):
        batch = {"x": X, "label": label}
        terms = (a.objective[name].fn(o, batch) for a, o in ((ae, got), (plain, want)))
        np.testing.assert_allclose(*terms, rtol=1e-4)


@pytest.mark.parametrize("estimator", ["stl", "dreg"])
def test_every_estimator_trains_the_prior_as_the_plain_one_does(estimator):
    """The estimators change the gradient of q alone: that of p(z | c) is the same, draw by draw."""

    def gradient(estimator):
        bound = IWAE(samples=3, estimator=estimator)
        ae, variables = made(spec(prior=ConditionalNormal(widths=(4,)), bound=bound))

        def loss(params):
            outputs = ae.outputs({"params": params}, {"x": X, "label": LABEL}, rngs=NOISE)
            return ae.objective["iwae"].fn(outputs, {"x": X}).mean()

        return jax.grad(loss)(variables["params"])["prior"]

    got, want = gradient(estimator), gradient("reparametrized")
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), got, want)
    assert all(np.abs(leaf).max() > 1e-3 for leaf in jax.tree.leaves(want))


def test_conditions_of_another_number_are_one_line():
    ae, variables = made(spec())
    with pytest.raises(ValueError, match="n=4: must be the number of rows of label, 6"):
        ae.apply(variables, 4, label=LABEL, rngs=NOISE, method="sample")


@pytest.mark.parametrize("label", [np.uint8([1] * 6), jnp.uint8([1] * 6), jnp.ones(6)])
def test_classes_that_are_no_integers_are_one_line(label):
    ae, variables = made(spec())
    with pytest.raises(TypeError, match="label has dtype .*: use label.astype"):
        ae.encode(variables, X, label=label)


@pytest.mark.parametrize("model", [spec(), spec(prior=ConditionalNormal(widths=(4,)))])
def test_the_likelihood_is_that_of_quadrature(model):
    """``log int p(x | z, c) p(z | c) dz`` of one latent, by 2401 points."""
    ae, variables = made(dataclasses.replace(model, latent_dim=1))
    variables = with_wide_posterior(variables)
    z = np.linspace(-12, 12, 2401)
    data = {"x": X, "label": LABEL}
    got = log_likelihood(ae, variables, data, samples=10_000)
    outputs = ae.outputs(variables, data)
    mean = np.float64(outputs.get("prior_mean", np.zeros((6, 1))))
    logvar = np.float64(outputs.get("prior_logvar", np.zeros((6, 1))))
    for i in range(6):
        label = np.full(len(z), LABEL[i], np.int32)
        logits = np.float64(
            ae.apply(variables, jnp.float32(z)[:, None], label=label, method="decode")["logits"]
        )
        log_p = (X[i] * logits - np.logaddexp(0, logits)).sum((1, 2))
        log_prior = -0.5 * (np.log(2 * np.pi) + logvar[i] + (z - mean[i]) ** 2 / np.exp(logvar[i]))
        whole = np.logaddexp.reduce(log_p + log_prior) + np.log(z[1] - z[0])
        np.testing.assert_allclose(got[i], whole, atol=0.03)


def test_the_learned_prior_has_the_divergence_of_two_gaussians():
    ae, variables = made(spec(prior=ConditionalNormal(widths=(4,))))
    batch = {"x": X, "label": LABEL}
    outputs = ae.outputs(variables, batch)
    m, v, pm, pv = (
        np.float64(outputs[n]) for n in ("mean", "logvar", "prior_mean", "prior_logvar")
    )
    each = 0.5 * (pv - v + (np.exp(v) + (m - pm) ** 2) / np.exp(pv) - 1)
    np.testing.assert_allclose(ae.objective["kl"].fn(outputs, batch), each.sum(1), rtol=1e-4)
    kl = ae.apply(variables, X, label=LABEL, method="posterior_kl")
    np.testing.assert_allclose(kl, each, rtol=1e-4, atol=1e-6)
    # The condition alone decides: equal labels have equal priors.
    np.testing.assert_array_equal(pm[LABEL == 2][0], pm[LABEL == 2][1])
    assert not np.allclose(pm[0], pm[1])


def test_samples_of_a_learned_prior_have_its_moments():
    ae, variables = made(spec(prior=ConditionalNormal(widths=(4,))))
    label = np.repeat(np.int32([0, 1]), 4000)
    drawn = ae.apply(variables, 8000, label=label, rngs=NOISE, method="sample")
    outputs = ae.outputs(variables, {"x": X, "label": LABEL})
    for i in range(2):
        z = np.float64(drawn["z"])[label == i]
        deviation = np.exp(0.5 * np.float64(outputs["prior_logvar"])[i])
        np.testing.assert_allclose(z.mean(0), outputs["prior_mean"][i], atol=0.06 * deviation.max())
        np.testing.assert_allclose(z.std(0), deviation, rtol=0.05)


@pytest.mark.parametrize("prior", [StandardNormal(), MixtureOfGaussians(components=2)])
def test_one_sample_of_the_bound_is_the_log_weight(prior):
    ae, variables = made(spec(prior=prior, bound=IWAE(samples=3, chunk=1)))
    data = {"x": X, "label": LABEL}
    outputs = ae.outputs(variables, data, rngs=NOISE)
    again, _ = made(spec(prior=prior, bound=IWAE(samples=3)))
    np.testing.assert_allclose(
        outputs["log_weight"],
        again.outputs(variables, data, rngs=NOISE)["log_weight"],
        rtol=1e-5,
    )


class TestUnknownElements:
    """A model of some elements of x, given the others."""

    @pytest.mark.parametrize("likelihood", [Bernoulli(), GaussianLikelihood(variance=0.5)])
    @pytest.mark.parametrize("bound", [ELBO(), IWAE(samples=2)])
    def test_only_they_count(self, likelihood, bound):
        model = spec(condition=PIXELS, likelihood=likelihood, bound=bound)
        ae, variables = made(model)
        outputs = ae.outputs(variables, {"x": X, "seen": SEEN})
        if "log_likelihood" in outputs:
            nll = -outputs["log_likelihood"][0]
        else:
            nll = ae.objective["nll"].fn(outputs, {"x": X, "seen": SEEN})
        if isinstance(likelihood, Bernoulli):
            logits = np.float64(outputs["logits"])
            each = np.logaddexp(0, logits) - X * logits
        else:
            mean = np.float64(ae.module.bind(variables).decoder(outputs["mean"], seen=SEEN))
            each = 0.5 * (np.log(2 * np.pi * 0.5) + (X - mean) ** 2 / 0.5)
        np.testing.assert_allclose(nll, np.where(KNOWN, 0, each).sum((1, 2)), rtol=1e-5)

    def test_the_evidence_is_of_them_alone(self):
        ae, variables = made(spec(condition=PIXELS))
        other = np.where(KNOWN, 1 - X, X)  # other values where they are known
        data = [{"x": x, "seen": SEEN} for x in (X, other)]
        z = ae.encode(variables, X, seen=SEEN)
        decoded = ae.apply(variables, z, seen=SEEN, method="decode")
        scores = [ae.objective["nll"].fn(decoded, batch) for batch in data]
        np.testing.assert_array_equal(*scores)
        weight = log_likelihood(ae, variables, data[0], samples=500)
        bound = elbo(ae, variables, data[0], samples=50)["elbo"]
        assert (weight > bound).all()

    def test_reconstructions_and_draws_repeat_the_others(self):
        ae, variables = made(spec(condition=PIXELS))
        recon = np.asarray(ae.reconstruct(variables, X, seen=SEEN))
        np.testing.assert_array_equal(recon[KNOWN], X[KNOWN])
        assert (recon[~KNOWN] % 1 != 0).all()
        drawn = ae.apply(variables, 6, seen=SEEN, rngs=NOISE, method="sample")
        np.testing.assert_array_equal(np.asarray(drawn["x"])[KNOWN], X[KNOWN])
        np.testing.assert_array_equal(np.asarray(reconstruction(drawn))[KNOWN], X[KNOWN])
        assert set(np.unique(drawn["x"])) <= {0.0, 1.0}


@pytest.mark.parametrize("network", [WIDE, ConvNet(filters=(16, 8))])
def test_the_condition_reaches_both_halves(network):
    ae = spec(network=network).build((4, 4, 1))
    variables = init_state(ae, optax.identity(), jax.random.key(0)).variables
    x = jnp.ones((2, 4, 4, 1)) / 2
    z = ae.encode(variables, x, label=np.int32([0, 2]))
    assert not np.allclose(z[0], z[1])
    recon = ae.decode(variables, jnp.ones((2, 2)), label=np.int32([0, 2]))
    assert not np.allclose(recon[0], recon[1])


def test_numbers_are_a_condition_too():
    condition = Condition(column="angle", classes=None, shape=(2,))
    ae, variables = made(spec(condition=condition))
    angle = np.float32(RNG.normal(size=(6, 2)))
    z = ae.encode(variables, X, angle=angle)
    assert not np.allclose(z, ae.encode(variables, X, angle=-angle))
    assert ae.decode(variables, z, angle=angle).shape == X.shape


def test_unknown_channels_of_colors_are_refused():
    shape = (4, 4, 3)
    condition = Condition(column="seen", classes=None, shape=shape, unknown=-1.0)
    model = spec(condition=condition, likelihood=DiscretizedLogisticMixture())
    with pytest.raises(ValueError, match="has no density of single channels"):
        model.build(shape)


def test_conditions_to_show():
    ae, _ = made(spec())
    given = shown_conditions(ae, {"x": X, "label": LABEL}, 9)
    assert given["label"].tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    ae, _ = made(spec(condition=PIXELS))
    given = shown_conditions(ae, {"x": X, "seen": SEEN}, 20)
    np.testing.assert_array_equal(given["seen"], SEEN[[0] * 10 + [5] * 10])
    with pytest.raises(ValueError, match="the model reads 'seen', which the data lacks"):
        shown_conditions(ae, {"x": X}, 20)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"column": "x"}, "column='x': has a meaning of its own: give the column another name"),
        ({"column": "mask"}, "column='mask'"),
        ({"column": "variables"}, "column='variables'"),
        ({"classes": None, "shape": (4,), "unknown": np.nan}, "unknown=nan: must be a finite"),
        ({"classes": 1}, "classes=1: must be at least 2, or None"),
        ({"shape": (2,)}, r"shape=\(2,\): is for numbers: use classes=None"),
        ({"unknown": -1.0}, "unknown=-1.0: is for a column of x's own shape"),
        ({"classes": None, "shape": (0,)}, r"shape=\(0,\): must be positive"),
    ],
)
def test_conditions_that_cannot_be(options, message):
    with pytest.raises(ValueError, match=message):
        Condition(**options)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: spec(prior=VampPrior()), "pseudo-inputs of a VampPrior have no condition"),
        (lambda: AE(condition=CLASSES), "condition=.*is for a stochastic bottleneck"),
        (lambda: Variational(prior=ConditionalNormal()), "prior=.*depends on a condition"),
        (lambda: spec(condition=PIXELS).build((3, 3)), r"condition.shape=\(4, 3\): must be that"),
        (lambda: ConditionalNormal(widths=(0,)), r"widths=\(0,\): each width must be at least 1"),
    ],
)
def test_models_that_cannot_be(make, message):
    with pytest.raises(ValueError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("label", "message"),
    [
        (None, r"train: the model reads 'label', which the data lacks: it has \['x'\]"),
        (LABEL + 1, r"train: label\[2\] is 3: must lie in \[0, 2\], by classes=3"),
        (LABEL - 1, r"train: label\[0\] is -1: must lie in \[0, 2\], by classes=3"),
    ],
)
def test_columns_that_cannot_be(label, message):
    ae, variables = made(spec())
    with pytest.raises(ValueError, match=message):
        fit(ae, {"x": X, "label": label}, steps=1)
    if label is not None:
        with pytest.raises(ValueError, match=r"must lie in \[0, 2\]"):
            ae.encode(variables, X, label=label)
        with pytest.raises(ValueError, match=r"must lie in \[0, 2\]"):
            elbo(ae, variables, {"x": X, "label": label})


def test_padding_rows_may_have_any_label():
    ae, _ = made(spec())
    label = np.where(np.arange(6) < 4, LABEL, 99)
    data = {"x": X, "label": label, "mask": np.float32(np.arange(6) < 4)}
    state, _ = fit(ae, data, steps=1)
    assert state.step == 1
