"""The very deep model, against computations in float64 and by its invariants."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.stats import norm

from ae_jax.core import init_state
from ae_jax.models import VeryDeep
from ae_jax.models.skipping import skipping_above
from ae_jax.models.very_deep import _mean_pool, _repeated
from ae_jax.training import make_eval_step

RNG = np.random.default_rng(0)
X = np.float32(RNG.uniform(size=(6, 4, 4, 1)))
SGD = optax.sgd(0.1)
SPEC = VeryDeep(pools=(2, 2), blocks=(1, 0, 2), width=3, bottleneck=2, latent_channels=2)
KEY = jax.random.key(0)


@pytest.fixture(scope="module")
def made(numpy_state):
    ae = SPEC.build((4, 4, 1))
    return ae, numpy_state(ae, SGD)


def divergence(q, p):
    """KL(q || p) of diagonal Gaussians of each example, in float64."""
    (mean, logvar), (at, width) = (tuple(map(np.float64, normal)) for normal in (q, p))
    squared = (np.exp(logvar) + (mean - at) ** 2) / np.exp(width)
    return 0.5 * (squared - 1 + width - logvar).reshape(len(mean), -1).sum(1)


def test_levels_are_those_of_the_blocks(made):
    """Two of 1x1 pixels above one of 4x4: the lowest, which is next to x, comes first."""
    ae, state = made
    z = ae.encode(state.variables, X)
    assert [leaf.shape for leaf in z] == [(6, 4, 4, 2), (6, 1, 1, 2), (6, 1, 1, 2)]
    flat = ae.features(state.variables, X)
    np.testing.assert_array_equal(flat, np.concatenate([a.reshape(6, -1) for a in z], 1))


def test_divergences_are_logged_by_resolution(made):
    ae, state = made
    outputs = ae.apply(state.variables, X)
    levels = [
        divergence(*pair) for pair in zip(outputs["posterior"], outputs["prior"], strict=True)
    ]
    metrics = make_eval_step(ae)(state, {"x": jnp.asarray(X)})
    np.testing.assert_allclose(metrics["kl_4x4"], levels[0].mean(), rtol=1e-4)
    np.testing.assert_allclose(metrics["kl_1x1"], (levels[1] + levels[2]).mean(), rtol=1e-4)
    np.testing.assert_allclose(metrics["kl"], sum(levels).mean(), rtol=1e-4)
    np.testing.assert_allclose(metrics["loss"], metrics["nll"] + metrics["kl"], rtol=1e-6)
    each = np.float64(ae.apply(state.variables, X, method="posterior_kl"))
    np.testing.assert_allclose(each.sum(1), sum(levels), rtol=1e-4)


def test_a_log_weight_is_the_ratio_of_densities(made):
    ae, state = made
    rngs = {"latent": KEY}
    outputs = ae.apply(state.variables, X, rngs=rngs)
    logits = np.float64(outputs["logits"])
    want = (X * logits - np.logaddexp(0, logits)).sum((1, 2, 3))
    for z, prior, q in zip(outputs["z"], outputs["prior"], outputs["posterior"], strict=True):
        for sign, (mean, logvar) in ((1, prior), (-1, q)):
            density = norm.logpdf(np.float64(z), mean, np.exp(np.float64(logvar) / 2))
            want += sign * density.reshape(6, -1).sum(1)
    got = ae.apply(state.variables, X, rngs=rngs, method="log_weight")
    np.testing.assert_allclose(got, want, rtol=1e-4)


def test_latents_alone_decide_what_is_decoded(made):
    """Nothing of x reaches the decoder but through z, also not the encoder's features."""
    ae, state = made
    outputs = ae.apply(state.variables, X, rngs={"latent": KEY})
    decoded = ae.decode(state.variables, outputs["z"])
    np.testing.assert_allclose(decoded, jax.nn.sigmoid(outputs["logits"]), rtol=1e-5)


def test_at_the_start_the_prior_is_standard():
    ae = SPEC.build((4, 4, 1))
    state = jax.jit(lambda: init_state(ae, SGD, KEY))()
    for prior in ae.apply(state.variables, X)["prior"]:
        np.testing.assert_allclose(prior.mean, 0, atol=1e-6)
        np.testing.assert_allclose(prior.logvar, 0, atol=1e-6)


def test_pooling_and_repeating():
    x = RNG.normal(size=(2, 6, 4, 3)).astype(np.float32)
    pooled = np.asarray(_mean_pool(jnp.asarray(x), 2))
    np.testing.assert_allclose(pooled[1, 2, 1], x[1, 4:6, 2:4].mean((0, 1)), rtol=1e-5)
    large = np.asarray(_repeated(jnp.asarray(x), 2))
    np.testing.assert_array_equal(large, x.repeat(2, axis=1).repeat(2, axis=2))


class TestSkipping:
    def run(self, gradients, limit=5.0):
        tx, params = skipping_above(optax.adam(0.1), limit), {"a": jnp.zeros(2)}
        state = tx.init(params)
        for gradient in gradients:
            updates, state = jax.jit(tx.update)({"a": jnp.float32(gradient)}, state, params)
            params = optax.apply_updates(params, updates)
        return params, state

    def test_large_gradients_change_nothing_but_the_count(self):
        few = [[1.0, 2.0], [3.0, 4.0]]  # of norm 5 the second, which is not above it
        many = [few[0], [3.0, 4.1], [np.nan, 0.0], [np.inf, 1.0], few[1]]
        (params, state), (want, plain) = self.run(many), self.run(few)
        assert state.skipped == 3 and plain.skipped == 0
        jax.tree.map(np.testing.assert_array_equal, (params, state.inner), (want, plain.inner))

    def test_a_model_has_it_as_an_option(self):
        params = {"a": jnp.zeros(2)}
        ae = replace(SPEC, skip_above=1.0).build((4, 4))
        state = ae.optimizer(SGD).init(params)
        assert optax.tree_utils.tree_get(state, "skipped") == 0
        assert SPEC.build((4, 4)).optimizer is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pools": (2, 1)}, "pools=(2, 1): each factor must be at least 2"),
        ({"blocks": (1, 1)}, "blocks=(1, 1): needs one entry more than pools=(2, 2)"),
        ({"blocks": (1, 1, 0)}, "blocks=(1, 1, 0): must not be negative, and the last at least 1"),
        ({"latent_channels": 0}, "latent_channels=0: must be at least 1"),
        ({"skip_above": 0.0}, "skip_above=0.0: must be positive"),
        ({"free_bits": -1.0}, "free_bits=-1.0: must not be negative"),
    ],
)
def test_options_are_checked(options, message):
    with pytest.raises(ValueError) as caught:
        replace(SPEC, **options)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((4,), r"event_shape=\(4,\): a VeryDeep model needs images"),
        ((6, 6), r"pools=\(2, 2\): must divide the images' size: 2 does not divide 3x3"),
    ],
)
def test_images_must_be_divisible(shape, message):
    with pytest.raises(ValueError, match=message):
        SPEC.build(shape)
