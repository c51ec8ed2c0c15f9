"""Greedy training: stages that leave each other alone, and add up to the deep model."""

from dataclasses import replace
from functools import partial

import jax
import numpy as np
import optax
import pytest

from ae_jax import losses
from ae_jax.models import Convolutional, Sparse, Tied, Vanilla
from ae_jax.networks import MLP
from ae_jax.pretraining.greedy import fit_greedy
from ae_jax.training import fit, init_state

pytestmark = pytest.mark.usefixtures("compiled_once")
RNG = np.random.default_rng(0)
FACTORS = RNG.uniform(size=(96, 2))
X = np.float32(np.clip(FACTORS @ RNG.uniform(size=(2, 12)) / 1.5, 0, 1)).reshape(96, 4, 3)
NETWORK = MLP(widths=(9, 6), activation="selu")
OPTIONS = {"epochs": 100, "batch_size": 32, "optimizer": 1e-2, "seed": 3}
SPECS = {
    "vanilla": Vanilla(network=NETWORK, latent_dim=3, latent_activation="selu"),
    "tied": Tied(
        network=replace(NETWORK, widths=(9,)), latent_dim=3, loss="mse", output_activation="sigmoid"
    ),
}


@pytest.fixture(scope="module", params=["vanilla", pytest.param("tied", marks=pytest.mark.slow)])
def trained(request):
    """A deep model, its greedy parameters, and the last state that each stage's training had."""
    spec, states = SPECS[request.param], []

    def keep(state, row):
        if row["epoch"] == OPTIONS["epochs"]:
            states.append(jax.tree.map(np.array, state.params))

    ae = spec.build((4, 3))
    return ae, fit_greedy(ae, X, callbacks=[keep], **OPTIONS), states


def layers(params):
    """(kernel, bias, decoder bias, decoder kernel) of each layer, from the input to the code."""
    if "kernel_0" in params:
        names = ("kernel", "bias", "decoder_bias")
        found = [tuple(params[f"{n}_{i}"] for n in names) for i in range(len(params) // 3)]
        return [(*layer, np.asarray(layer[0]).T) for layer in found]
    down = [params.get("encoder", {})[f"Dense_{i}"] for i in range(len(params.get("encoder", {})))]
    up = [params["decoder"][f"Dense_{i}"] for i in reversed(range(len(params["decoder"])))]
    return [
        (a["kernel"], a["bias"], b["bias"], b["kernel"])
        for a, b in zip([*down, params["code"]], up, strict=True)
    ]


def test_it_has_the_model_s_structure(trained):
    ae, params, _ = trained
    fresh = jax.eval_shape(partial(init_state, ae, optax.sgd(0.1)), jax.random.key(0)).params
    assert jax.tree.structure(params) == jax.tree.structure(fresh)
    same = jax.tree.map(lambda p, q: (p.shape, p.dtype) == (q.shape, q.dtype), params, fresh)
    assert jax.tree.all(same)


def test_no_stage_touches_the_layers_of_another(trained):
    """Bit for bit, each layer is what its own stage left, whatever was trained after it."""
    ae, params, states = trained
    found = layers(params)
    assert len(found) == len(states) == 1 + len(ae.spec.network.widths)
    for layer, state in zip(found, states, strict=True):
        jax.tree.map(np.testing.assert_array_equal, layer, layers(state)[0])


def test_a_shallower_model_has_the_same_first_stage(trained):
    """Bit for bit: nothing of the later layers reaches the first."""
    ae, params, _ = trained
    network = replace(NETWORK, widths=())
    spec = replace(ae.spec, network=network, latent_dim=9, latent_activation="selu")
    alone, _ = fit(spec.build((4, 3)), X, **OPTIONS)
    jax.tree.map(np.testing.assert_array_equal, layers(params)[0], layers(alone.params)[0])


def test_the_deep_model_is_the_stages_one_after_another(trained):
    """Up through the encoders, down through the decoders, in float64 NumPy."""
    ae, params, states = trained
    acts = {
        "relu": lambda a: np.maximum(a, 0),
        "selu": lambda a: (
            1.0507009873554805 * np.where(a > 0, a, 1.6732632423543772 * np.expm1(np.minimum(a, 0)))
        ),
    }
    stages = [[np.float64(p) for p in layers(state)[0]] for state in states]
    h = np.float64(X.reshape(96, 12))
    for i, (kernel, bias, _, _) in enumerate(stages):
        h = acts[ae.spec.latent_activation if i == len(stages) - 1 else "selu"](h @ kernel + bias)
    np.testing.assert_allclose(ae.encode({"params": params}, X), h, rtol=1e-4, atol=1e-5)
    for i in reversed(range(len(stages))):
        _, _, bias, kernel = stages[i]
        h = h @ kernel + bias
        h = acts["selu"](h) if i else 1 / (1 + np.exp(-h))
    recon = ae.reconstruct({"params": params}, X)
    np.testing.assert_allclose(recon, h.reshape(96, 4, 3), rtol=1e-4, atol=1e-5)


def test_it_is_a_better_start_than_chance(trained):
    ae, params, _ = trained
    fresh = jax.jit(partial(init_state, ae, optax.sgd(0.1)))(jax.random.key(0)).params
    errors = [losses.mse(ae.reconstruct({"params": p}, X), X).mean() for p in (params, fresh)]
    assert errors[0] < 0.5 * errors[1]
    assert errors[0] < 0.5 * X.var(axis=0).sum()


def test_fine_tuning_goes_on_from_there(trained):
    ae, params, _ = trained
    before = losses.mse(ae.reconstruct({"params": params}, X), X).mean()
    state, _ = fit(ae, X, epochs=10, batch_size=32, params=params)
    assert losses.mse(ae.reconstruct(state.variables, X), X).mean() < before


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (Convolutional(), "must be a plain autoencoder with an MLP"),
        (Sparse(), "must be a plain autoencoder"),
        (Vanilla(network=MLP(widths=(3,), decoder_widths=(4,))), r"decoder_widths=\(4,\)"),
        (Vanilla(network=MLP(widths=(3,), gated=True)), "gated=True: must be False"),
    ],
)
def test_other_models_are_refused(model, message):
    with pytest.raises(ValueError, match=message):
        fit_greedy(model.build((4, 4)), X, epochs=1)


def test_data_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"built for \[N, 3, 4\]"):
        fit_greedy(SPECS["vanilla"].build((3, 4)), X, **OPTIONS)
