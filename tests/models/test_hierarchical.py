"""Hierarchies of latents, against closed forms and independent computations in float64."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.special import expit, logsumexp
from scipy.stats import multivariate_normal, norm

from ae_jax import losses
from ae_jax.core import reconstruction
from ae_jax.likelihoods import Bernoulli, Error, GaussianLikelihood
from ae_jax.models import Ladder, Variational
from ae_jax.models.hierarchical import Normal, merged
from ae_jax.networks import MLP
from ae_jax.networks.normalized import HiddenLayers
from ae_jax.training import make_eval_step, make_train_step

RNG = np.random.default_rng(0)
X = np.float32(RNG.uniform(size=(16, 6)))
SGD = optax.sgd(0.1)
SPEC = Ladder(widths=(7, 6, 5), latent_dims=(4, 3, 2), layers=1, activation="tanh")
SPECS = {"ladder": SPEC, "skip": replace(SPEC, skip=True)}
KEY = jax.random.key(0)

each = pytest.mark.parametrize("name", SPECS)


def make(spec, numpy_state, shape=(6,)):
    ae = spec.build(shape)
    return ae, numpy_state(ae, SGD)


def divergence(q, p):
    """KL(q || p) of diagonal Gaussians by element, in float64."""
    (mean, logvar), (at, width) = (tuple(map(np.float64, normal)) for normal in (q, p))
    squared = (np.exp(logvar) + (mean - at) ** 2) / np.exp(width)
    return 0.5 * (squared - 1 + width - logvar)


class TestMerged:
    def test_is_the_normalized_product_of_densities(self):
        """On a grid: the product of the two densities, over its integral."""
        one, other = Normal(0.7, np.log(0.5)), Normal(-1.2, np.log(2.0))
        grid = np.linspace(-8, 8, 20_001)
        product = norm.pdf(grid, 0.7, 0.5**0.5) * norm.pdf(grid, -1.2, 2.0**0.5)
        product /= np.trapezoid(product, grid)
        mean, logvar = map(float, merged(*(Normal(*map(jnp.float32, n)) for n in (one, other))))
        np.testing.assert_allclose(
            norm.pdf(grid, mean, np.exp(logvar / 2)), product, rtol=1e-4, atol=1e-8
        )

    @pytest.mark.parametrize(("logvar", "width"), [(80.0, -80.0), (-100.0, 100.0), (-90.0, -95.0)])
    def test_extreme_variances(self, logvar, width):
        """The more precise one wins; nothing overflows, nor do the gradients."""

        def outcome(a, b):
            product = merged(Normal(jnp.float32(3.0), a), Normal(jnp.float32(-2.0), b))
            return product.mean + product.logvar, product

        args = jnp.float32(logvar), jnp.float32(width)
        (_, got), grads = jax.value_and_grad(outcome, (0, 1), has_aux=True)(*args)
        share = expit(width - logvar)
        np.testing.assert_allclose(got.mean, 3 * share - 2 * (1 - share), rtol=1e-5)
        np.testing.assert_allclose(got.logvar, -np.logaddexp(-logvar, -width), rtol=1e-5)
        assert np.isfinite(grads).all()


def by_hand(params, x, draws, skip):
    """A ladder of three levels of one tanh layer each, in float64: (logits, z, q, p)."""
    p = jax.tree.map(np.float64, params)

    def dense(layer, h):
        return h @ layer["kernel"] + layer["bias"]

    h, evidence, encoder, decoder = np.float64(x), [], p["encoder"], p["decoder"]
    for i in range(3):
        h = np.tanh(dense(encoder[f"hidden_{i}"]["Dense_0"], h))
        evidence.append((dense(encoder[f"mean_{i}"], h), dense(encoder[f"logvar_{i}"], h)))
    z, q, prior = [None] * 3, [None] * 3, [None] * 3
    read = None
    for i in (2, 1, 0):
        mean, logvar = evidence[i]
        if read is None:
            prior[i], q[i] = (np.zeros_like(mean), np.zeros_like(mean)), (mean, logvar)
        else:
            at, width = dense(decoder[f"mean_{i}"], read), dense(decoder[f"logvar_{i}"], read)
            width = 8 * np.tanh(width / 8)
            precision = np.exp(-logvar) + np.exp(-width)
            mean = (mean * np.exp(-logvar) + at * np.exp(-width)) / precision
            prior[i], q[i] = (at, width), (mean, -np.log(precision))
        z[i] = q[i][0] if draws is None else np.float64(draws[i])
        inputs = z[i] if read is None or not skip else np.concatenate([z[i], read], 1)
        read = np.tanh(dense(decoder[f"hidden_{i}"]["Dense_0"], inputs))
    return dense(decoder["output"], read), z, q, prior


@each
@pytest.mark.parametrize("noise", [False, True])
def test_a_ladder_written_out(name, noise, numpy_state):
    """Without noise z is the center of each level; with it, what was drawn of each."""
    ae, state = make(SPECS[name], numpy_state)
    rngs = {"latent": KEY} if noise else {}
    outputs = ae.apply(state.variables, X, rngs=rngs)
    draws = outputs["z"] if noise else None
    logits, z, q, prior = by_hand(state.params, X, draws, name == "skip")
    close = {"rtol": 1e-4, "atol": 1e-5}
    np.testing.assert_allclose(outputs["logits"], logits, **close)
    for i in range(3):
        np.testing.assert_allclose(outputs["z"][i], z[i], **close)
        for got, want in ((outputs["posterior"], q), (outputs["prior"], prior)):
            np.testing.assert_allclose(got[i].mean, want[i][0], **close)
            np.testing.assert_allclose(got[i].logvar, want[i][1], **close)
    if noise:
        return
    metrics = make_eval_step(ae)(state, {"x": jnp.asarray(X)})
    levels = [divergence(q[i], prior[i]).sum(1).mean() for i in range(3)]
    for i in range(3):
        np.testing.assert_allclose(metrics[f"kl_{i + 1}"], levels[i], rtol=1e-4)
    np.testing.assert_allclose(metrics["kl"], sum(levels), rtol=1e-4)
    nll = (np.logaddexp(0, logits) - X * logits).sum(1).mean()
    np.testing.assert_allclose(metrics["nll"], nll, rtol=1e-5)
    np.testing.assert_allclose(metrics["loss"], nll + sum(levels), rtol=1e-5)
    each = ae.apply(state.variables, X, method="posterior_kl")
    want = np.concatenate([divergence(q[i], prior[i]) for i in range(3)], 1)
    np.testing.assert_allclose(each, want, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(ae.features(state.variables, X), np.concatenate(z, 1), **close)


@each
def test_a_log_weight_is_the_ratio_of_densities(name, numpy_state):
    ae, state = make(SPECS[name], numpy_state)
    rngs = {"latent": KEY}
    z = ae.apply(state.variables, X, rngs=rngs)["z"]
    got = ae.apply(state.variables, X, rngs=rngs, method="log_weight")
    logits, _, q, prior = by_hand(state.params, X, z, name == "skip")
    want = (X * logits - np.logaddexp(0, logits)).sum(1)
    for i in range(3):
        for sign, (mean, logvar) in ((1, prior[i]), (-1, q[i])):
            want += sign * norm.logpdf(np.float64(z[i]), mean, np.exp(logvar / 2)).sum(1)
    np.testing.assert_allclose(got, want, rtol=1e-4)


def test_the_mean_of_log_weights_is_the_lower_bound(numpy_state):
    """With the exact KL of each level, given the draws above; within 4 standard errors."""
    ae, state = make(SPEC, numpy_state)
    count = 4000

    @jax.jit
    @jax.vmap
    def draw(key):
        rngs = {"latent": key}
        outputs = ae.apply(state.variables, X, rngs=rngs)
        terms = (ae.objective[name].fn(outputs, {"x": jnp.asarray(X)}) for name in ("nll", "kl"))
        return ae.apply(state.variables, X, rngs=rngs, method="log_weight") + sum(terms)

    surplus = np.float64(draw(jax.random.split(KEY, count)))
    error = surplus.std(0) / count**0.5
    assert error.max() < 0.1
    assert (np.abs(surplus.mean(0)) < 4 * error).all()


def test_a_ladder_of_one_level_is_the_plain_model(numpy_state):
    ladder = Ladder(widths=(7,), latent_dims=(3,), layers=1, activation="tanh")
    plain = Variational(network=MLP(widths=(7,), activation="tanh"), latent_dim=3)
    one, state = make(ladder, numpy_state)
    other = plain.build((6,))
    encoder, decoder = state.params["encoder"], state.params["decoder"]
    params = {
        "encoder": {"Dense_0": encoder["hidden_0"]["Dense_0"]},
        "mean": encoder["mean_0"],
        "logvar": encoder["logvar_0"],
        "decoder": {"Dense_0": decoder["hidden_0"]["Dense_0"], "Dense_1": decoder["output"]},
    }
    for method in ("features", "posterior_kl"):
        got = one.apply(state.variables, X, method=method)
        want = other.features({"params": params}, X)
        if method == "posterior_kl":
            want = other.apply({"params": params}, X, method=method)
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
    quiet = (ae.apply(v, X) for ae, v in ((one, state.variables), (other, {"params": params})))
    first, second = quiet
    np.testing.assert_allclose(first["logits"], second["logits"], rtol=1e-5, atol=1e-6)
    batch = {"x": jnp.asarray(X)}
    for name in ("nll", "kl"):
        got, want = one.objective[name].fn(first, batch), other.objective[name].fn(second, batch)
        np.testing.assert_allclose(got, want, rtol=1e-5)


def test_many_samples_reach_the_likelihood_of_a_linear_gaussian_model(numpy_state):
    """x = W z_1 + b + noise, z_1 = A z_2 + c + noise: x is Gaussian, so log p(x) is exact.

    Two linear levels, whose posteriors are no exact ones: the bound must come from the weights.
    """
    spec = Ladder(
        widths=(2, 2),
        latent_dims=(2, 1),
        layers=1,
        activation="linear",
        likelihood=GaussianLikelihood(variance=0.5),
    )
    ae, state = make(spec, numpy_state, (3,))
    params = jax.tree.map(lambda a: 0.5 * a, state.params)
    # Variances that depend on nothing.
    for part in (params["decoder"], params["encoder"]):
        for name in part:
            if name.startswith("logvar"):
                part[name]["kernel"] = 0 * part[name]["kernel"]
    p = jax.tree.map(np.float64, params["decoder"])

    def affine(*layers):
        matrix, bias = np.eye(n := len(layers[0]["kernel"])), np.zeros(n)
        for layer in layers:
            matrix, bias = matrix @ layer["kernel"], bias @ layer["kernel"] + layer["bias"]
        return matrix.T, bias

    for layer in (p["hidden_0"], p["hidden_1"]):
        layer.update(layer.pop("Dense_0"))
    a, c = affine(p["hidden_1"], p["mean_0"])
    w, b = affine(p["hidden_0"], p["output"])
    inner = a @ a.T + np.diag(np.exp(8 * np.tanh(p["logvar_0"]["bias"] / 8)))
    covariance = w @ inner @ w.T + 0.5 * np.eye(3)
    x = np.float32(RNG.multivariate_normal(w @ c + b, covariance, size=5))
    exact = multivariate_normal.logpdf(x, w @ c + b, covariance)

    @jax.jit
    @jax.vmap
    def weight(key):
        rngs = {"latent": key}
        return ae.apply({"params": params}, x, rngs=rngs, method="log_weight")

    log_weight = np.float64(weight(jax.random.split(KEY, 100_000)))
    bound = logsumexp(log_weight, axis=0) - np.log(len(log_weight))
    assert (log_weight.mean(0) < exact - 0.01).all()
    np.testing.assert_allclose(bound, exact, atol=0.05)


def test_warm_up_and_free_bits(numpy_state):
    ae, state = make(replace(SPEC, warmup_steps=10, free_bits=0.5), numpy_state)
    step, batch = make_eval_step(ae), {"x": jnp.asarray(X)}
    first, later = step(state, batch), step(state.replace(step=jnp.int32(5)), batch)
    levels = np.float64([later[f"kl_{i}"] for i in (1, 2, 3)])
    assert levels.min() < 0.5 < levels.max()  # or the floor would be untested
    np.testing.assert_allclose(later["kl"], levels.sum(), rtol=1e-5)
    np.testing.assert_allclose(later["free_kl"], np.maximum(levels, 0.5).sum(), rtol=1e-5)
    np.testing.assert_allclose(first["loss"], first["nll"], rtol=1e-6)
    np.testing.assert_allclose(later["loss"], later["nll"] + 0.5 * later["free_kl"], rtol=1e-6)


class TestSampleFrom:
    @each
    def test_keeps_upper_levels_and_draws_the_others(self, name, numpy_state):
        ae, state = make(SPECS[name], numpy_state)
        whole = ae.apply(state.variables, 5, rngs={"latent": KEY}, method="sample")
        for level in (1, 2, 3, 4):
            rngs = {"latent": jax.random.key(1)}
            got = ae.apply(state.variables, whole["z"], level, rngs=rngs, method="sample_from")
            for i, (z, kept) in enumerate(zip(got["z"], whole["z"], strict=True)):
                assert (np.asarray(z) == np.asarray(kept)).all() == (i + 1 >= level)
            assert reconstruction(got).shape == got["x"].shape == (5, 6)
        # Nothing is drawn below the lowest level.
        one = ae.apply(state.variables, whole["z"], 1, method="sample_from")
        np.testing.assert_allclose(one["logits"], whole["logits"], rtol=1e-5)

    def test_draws_are_those_of_the_prior_given_the_levels_above(self, numpy_state):
        ae, state = make(SPEC, numpy_state)
        _, z, _, prior = by_hand(state.params, X[:1], None, False)
        many = tuple(jnp.tile(jnp.float32(a), (20_000, 1)) for a in z)
        drawn = ae.apply(state.variables, many, 2, rngs={"latent": KEY}, method="sample_from")
        mean, logvar = prior[0][0][0], prior[0][1][0]
        at_z2 = np.asarray(drawn["z"][0])
        np.testing.assert_allclose(at_z2.mean(0), mean, atol=0.05)
        np.testing.assert_allclose(at_z2.std(0), np.exp(logvar / 2), rtol=0.03)
        quiet = ae.apply(state.variables, many, 2, method="sample_from")
        np.testing.assert_allclose(quiet["z"][0][0], mean, rtol=1e-4, atol=1e-5)


class TestBatchNorm:
    spec = replace(SPEC, norm="batch", layers=2)

    def test_statistics_are_of_real_rows(self, numpy_state):
        """Padded and cut batches: the same gradients and the same averages, whatever is padded."""
        ae, state = make(self.spec, numpy_state)
        step = jax.jit(make_train_step(ae, SGD))
        x, mask = jnp.asarray(X).at[10:].set(1.0), jnp.float32(np.arange(16) < 10)
        padded, cut = step(state, {"x": x, "mask": mask}), step(state, {"x": x[:10]})
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6),
            (padded[0].params, padded[0].model_state, padded[1]),
            (cut[0].params, cut[0].model_state, cut[1]),
        )

    def test_statistics_are_of_real_rows_on_all_devices(self):
        """Values, averages and gradients, with a device whose rows are all padded."""
        module = HiddenLayers(widths=(5,), activation="tanh", norm="batch")
        x = jnp.float32(np.random.default_rng(0).normal(size=(8, 3)))
        mask = jnp.float32([1, 1, 1, 1, 1, 0, 0, 0])
        variables = module.init(jax.random.key(0), x)

        def loss(params, x, mask, axis_name=None):
            collections = {**variables, "params": params}
            h, state = module.apply(collections, x, mask, axis_name, mutable=["batch_stats"])
            value = (h**2).sum(1)
            return losses.batch_mean(value, where=mask, axis_name=axis_name), (h, state)

        both = partial(jax.value_and_grad, has_aux=True)
        (value, (h, state)), gradient = both(loss)(variables["params"], x, mask)

        def on_a_device(x, mask):
            params = jax.tree.map(lambda leaf: jax.lax.pcast(leaf, "d", to="varying"), variables)
            of = both(partial(loss, axis_name="d"))
            (value, (h, state)), gradient = of(params["params"], x, mask)
            return value, h, state, jax.lax.pmean(gradient, "d")

        apart = jax.pmap(on_a_device, axis_name="d")(x.reshape(4, 2, 3), mask.reshape(4, 2))
        close = partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6)
        close(apart[0], np.full(4, value))
        close(apart[1].reshape(8, 5)[:5], h[:5])
        for device in range(4):
            jax.tree.map(lambda a, b, d=device: close(a[d], b), apart[2:], (state, gradient))

    def test_averages_follow_the_mean_and_the_variance(self, numpy_state):
        ae, state = make(self.spec, numpy_state)
        moved, _ = jax.jit(make_train_step(ae, SGD))(state, {"x": jnp.asarray(X)})
        kernel = state.params["encoder"]["hidden_0"]["Dense_0"]["kernel"]
        h = np.float64(X) @ np.float64(kernel)
        averages = moved.model_state["batch_stats"]["encoder"]["hidden_0"]["BatchNorm_0"]
        np.testing.assert_allclose(averages["mean"], 0.01 * h.mean(0), rtol=1e-4)
        np.testing.assert_allclose(averages["var"], 0.01 * h.var(0), rtol=1e-4)

    def test_evaluation_sees_each_row_alone(self, numpy_state):
        ae, state = make(self.spec, numpy_state)
        ones = jax.tree.map(jnp.ones_like, state.model_state)
        variables = {**state.variables, **ones}
        alone, together = ae.reconstruct(variables, X[:1]), ae.reconstruct(variables, X)
        np.testing.assert_allclose(alone[0], together[0], rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"widths": ()}, "widths=(): must have at least one entry"),
        ({"latent_dims": (4, 0, 2)}, "latent_dims=(4, 0, 2): must have at least one entry, each"),
        ({"latent_dims": (4, 3)}, "latent_dims=(4, 3): needs as many entries as widths=(7, 6, 5)"),
        ({"likelihood": Error()}, "latents need a likelihood, such as Bernoulli()"),
        ({"layers": 0}, "layers=0: must be at least 1"),
        ({"norm": "group"}, "norm='group': known: batch, none"),
        ({"warmup_steps": -1}, "warmup_steps=-1: must not be negative"),
        ({"free_bits": -0.5}, "free_bits=-0.5: must not be negative"),
    ],
)
def test_options_are_checked(options, message):
    with pytest.raises(ValueError) as caught:
        replace(SPEC, **options)
    assert message in str(caught.value)


def test_binarized_targets_reach_the_loss(numpy_state):
    ae, state = make(replace(SPEC, likelihood=Bernoulli(binarize=True)), numpy_state)
    outputs = ae.apply(state.variables, X, rngs={"corrupt": KEY})
    assert set(np.unique(outputs["target"])) == {0.0, 1.0}
    nll = ae.objective["nll"].fn(outputs, {"x": jnp.asarray(X)})
    logits = np.float64(outputs["logits"])
    want = (np.logaddexp(0, logits) - outputs["target"] * logits).sum(1)
    np.testing.assert_allclose(nll, want, rtol=1e-5)
