"""The weights of a model against densities of SciPy, and what its options change."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.stats import bernoulli, norm

from ae_jax.models import AE, IWAE, ImportanceWeighted, Jacobian, Noise
from ae_jax.networks import MLP
from ae_jax.training import make_train_step

SGD = optax.sgd(0.1)
SPEC = ImportanceWeighted(network=MLP(widths=(6,)), latent_dim=2, samples=2, groups=2)
X = jnp.float32(np.random.default_rng(0).integers(0, 2, size=(3, 7)))
RNGS = {"latent": jax.random.key(1)}


def gradient_step(spec, numpy_state):
    ae = spec.build((7,))
    return jax.jit(make_train_step(ae, SGD))(numpy_state(ae, SGD), {"x": X})


def test_log_weights_are_the_densities_written_out(numpy_state):
    ae = SPEC.build((7,))
    variables = numpy_state(ae, SGD).variables
    outputs, kept = ae.module.apply(
        variables, X, rngs=RNGS, capture_intermediates=True, mutable=["intermediates"]
    )
    calls = kept["intermediates"]["__call__"]  # of the modules that share the model's scope
    (drawn,) = (call for call in calls if "z" in call and call["z"].ndim == 3)
    z = np.float64(drawn["z"])
    assert z.shape == (4, 3, 2) and len({*z.reshape(-1)}) == z.size
    logits = np.stack([ae.module.apply(variables, zk, method="decode")["logits"] for zk in z])
    likelihood = bernoulli.logpmf(X, 1 / (1 + np.exp(-np.float64(logits)))).sum(-1)
    posterior = norm.logpdf(z, drawn["mean"], np.exp(0.5 * np.float64(drawn["logvar"]))).sum(-1)
    want = likelihood + norm.logpdf(z).sum(-1) - posterior
    np.testing.assert_allclose(outputs["log_likelihood"], likelihood, rtol=1e-5)
    np.testing.assert_allclose(outputs["log_weight"], want, rtol=1e-5)
    np.testing.assert_array_equal(outputs["z"], drawn["z"][0])
    np.testing.assert_allclose(outputs["logits"], logits[0], rtol=1e-5)


def assert_close(got, want):
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6), got, want)


@pytest.mark.parametrize("estimator", ["reparametrized", "dreg", "vimco"])
def test_chunks_change_memory_and_nothing_else(estimator, numpy_state):
    spec = replace(SPEC, estimator=estimator)
    whole, parts = (gradient_step(s, numpy_state) for s in (spec, replace(spec, chunk=1)))
    assert_close((parts[0].params, parts[1]), (whole[0].params, whole[1]))


def test_chunks_do_save_memory(numpy_state):
    def temporary(spec):
        ae = spec.build((300,))
        batch = {"x": jax.ShapeDtypeStruct((20, 300), jnp.float32)}
        lowered = jax.jit(make_train_step(ae, SGD)).lower(numpy_state(ae, SGD), batch)
        return lowered.compile().memory_analysis().temp_size_in_bytes

    spec = replace(SPEC, samples=64)
    assert temporary(replace(spec, chunk=8)) < 0.4 * temporary(spec)


def test_a_partial_bound_trains_the_encoder_on_the_groups_and_the_rest_on_all(numpy_state):
    """PIWAE's gradients are those of MIWAE and of IWAE (of the same draws), by parameters."""
    specs = replace(SPEC, partial=True), SPEC, replace(SPEC, samples=4, groups=1)
    own, miwae, iwae = (gradient_step(spec, numpy_state)[0].params for spec in specs)
    for name in ("encoder", "mean", "logvar"):
        assert_close(own[name], miwae[name])
    assert_close(own["decoder"], iwae["decoder"])
    kernels = (params["decoder"]["Dense_0"]["kernel"] for params in (own, miwae))
    assert np.abs(np.subtract(*kernels)).max() > 1e-3


def test_the_score_of_a_single_sample_trains_the_encoder(numpy_state):
    """Its gradient is that of ``log w * log q``, with the sample held fixed, beside log w's."""
    spec = replace(SPEC, samples=1, groups=1, estimator="score")
    ae = spec.build((7,))
    state = numpy_state(ae, SGD)

    def loss(params, scored):
        outputs = ae.outputs({"params": params}, {"x": X}, rngs=RNGS)
        if scored:
            return ae.objective["iwae"].fn(outputs, {"x": X}).mean()
        weight, log_q = outputs["log_weight"][0], outputs["log_posterior"][0]
        return -(weight + jax.lax.stop_gradient(weight) * log_q).mean()

    got, want = (jax.jit(jax.grad(loss), static_argnums=1)(state.params, s) for s in (True, False))
    assert_close(got, want)
    assert np.abs(got["mean"]["kernel"]).max() > 0.1


@pytest.mark.parametrize("parts", [{"network": MLP()}, {"penalties": (Jacobian(),)}])
def test_a_partial_bound_that_cannot_be_is_one_line(parts):
    options = {**vars(SPEC.parts()), "bound": IWAE(samples=2, groups=2, partial=True), **parts}
    with pytest.raises(ValueError, match="partial=True: needs a network with hidden layers, and"):
        AE(**options)


def test_without_noise_it_is_the_bound_at_the_posterior_mean(numpy_state):
    ae = SPEC.build((7,))
    outputs = ae.outputs(numpy_state(ae, SGD).variables, {"x": X})
    assert outputs["log_weight"].shape == (1, 3)
    np.testing.assert_array_equal(outputs["z"], outputs["mean"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"samples": 0}, "samples=0: must be at least 1"),
        ({"groups": 0}, "groups=0: must be at least 1"),
        ({"samples": 1, "estimator": "vimco"}, "samples=1: vimco compares samples"),
        ({"elbo_weight": 1.5}, r"elbo_weight=1.5: must be in \[0, 1\]"),
        ({"elbo_weight": 0.1, "estimator": "vimco"}, "elbo_weight=0.1: must be 0 for vimco"),
        ({"samples": 5, "chunk": 2}, "chunk=2: must divide the 5 samples"),
        ({"estimator": "sticking"}, "estimator='sticking'"),
    ],
)
def test_mistakes(options, message):
    with pytest.raises(ValueError, match=message):
        IWAE(**options)


def test_noise_on_the_input_is_refused():
    parts = SPEC.parts()
    with pytest.raises(ValueError, match="IWAE weighs samples by the input itself"):
        AE(**{**vars(parts), "corruption": Noise()})
