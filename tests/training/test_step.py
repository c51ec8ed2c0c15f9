"""The train step: jit = eager, pmap and shard_map = one device, noise by (key, step)."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ae_jax.core import Autoencoder, Term
from ae_jax.losses import mse
from ae_jax.models import Vanilla, Variational
from ae_jax.networks import MLP
from ae_jax.training import init_state, make_eval_step, make_train_step

X = jnp.asarray(np.random.default_rng(0).uniform(size=(16, 12)), jnp.float32)
MASK = jnp.asarray([1] * 11 + [0] * 5, jnp.float32)
SGD = optax.sgd(0.1)
VANILLA = Vanilla(network=MLP(widths=(8,), activation="tanh"), latent_dim=4).build((12,))
VAE = Variational(network=MLP(widths=(8,)), latent_dim=2).build((12,))


def run(step, state, batch, steps=3):
    for _ in range(steps):
        state, metrics = step(state, batch)
    return state, metrics


def assert_trees_close(got, want, **tolerance):
    jax.tree.map(partial(np.testing.assert_allclose, **tolerance), got, want)


def test_a_step_is_sgd_on_the_finite_difference_gradient():
    ae = Vanilla(latent_dim=1, latent_activation="tanh", loss="mse", reduction="sum").build((2,))
    state = init_state(ae, SGD, jax.random.key(0))
    x = X[:3, :2]
    moved, _ = make_train_step(ae, SGD)(state, {"x": x})

    def loss(params):  # float64, written out
        p = jax.tree.map(np.float64, params)
        z = np.tanh(np.float64(x) @ p["code"]["kernel"] + p["code"]["bias"])
        recon = z @ p["decoder"]["Dense_0"]["kernel"] + p["decoder"]["Dense_0"]["bias"]
        return ((recon - np.float64(x)) ** 2).sum(1).mean()

    kernel, h = np.float64(state.params["code"]["kernel"]), 1e-6
    for i in range(2):
        sides = []
        for sign in (1, -1):
            shifted = kernel.copy()
            shifted[i, 0] += sign * h
            sides.append(loss(state.params | {"code": state.params["code"] | {"kernel": shifted}}))
        grad = (sides[0] - sides[1]) / (2 * h)
        np.testing.assert_allclose(
            moved.params["code"]["kernel"][i, 0], kernel[i, 0] - 0.1 * grad, rtol=1e-4, atol=1e-6
        )


def test_noise_is_a_function_of_key_and_step():
    state = init_state(VAE, SGD, jax.random.key(0))
    step = jax.jit(make_train_step(VAE, optax.sgd(0.0)))
    first, metrics = step(state, {"x": X})
    _, same = step(state, {"x": X})
    _, later = step(first, {"x": X})
    assert metrics["loss"] == same["loss"] and metrics["loss"] != later["loss"]
    assert (jax.random.key_data(first.key) == jax.random.key_data(state.key)).all()


def test_uint8_is_read_as_the_unit_interval():
    pixels = (X * 255).astype(jnp.uint8)
    state = init_state(VANILLA, SGD, jax.random.key(0))
    step = jax.jit(make_train_step(VANILLA, SGD))
    assert step(state, {"x": pixels})[1] == step(state, {"x": pixels / jnp.float32(255)})[1]


def test_ema_is_the_written_out_average():
    state = init_state(VANILLA, SGD, jax.random.key(0), ema=True)
    step = jax.jit(make_train_step(VANILLA, SGD, ema_decay=0.9))
    average = np.float64(state.params["code"]["bias"])
    for _ in range(4):
        state, _ = step(state, {"x": X})
        average = 0.9 * average + 0.1 * np.float64(state.params["code"]["bias"])
    np.testing.assert_allclose(state.ema["params"]["code"]["bias"], average, rtol=1e-5, atol=1e-8)
    assert state.variables["params"] is state.ema["params"]


class Normed(nn.Module):
    """A module with a state that is not trained: a running mean of the input, subtracted."""

    def setup(self):
        self.out = nn.Dense(12)
        self.mean = self.variable("stats", "mean", jnp.zeros, (12,))

    def __call__(self, x):
        if self.is_mutable_collection("stats") and not self.is_initializing():
            self.mean.value = 0.9 * self.mean.value + 0.1 * x.mean(0)
        return {"recon": self.decode(self.encode(x))["recon"]}

    def encode(self, x):
        return x - self.mean.value

    def decode(self, z):
        return {"recon": self.out(z)}


def test_untrained_collections_are_updated_in_training_only():
    ae = Autoencoder(Normed(), {"mse": Term(lambda o, b: mse(o["recon"], b["x"]))}, (12,))
    state = init_state(ae, SGD, jax.random.key(0))
    moved, _ = jax.jit(make_train_step(ae, SGD))(state, {"x": X})
    np.testing.assert_allclose(moved.model_state["stats"]["mean"], 0.1 * X.mean(0), rtol=1e-5)
    make_eval_step(ae)(moved, {"x": X})
    split = X.reshape(4, 4, 12)
    step = make_train_step(ae, SGD, axis_name="data")
    mapped, _ = jax.pmap(step, axis_name="data", in_axes=(None, 0), out_axes=None)(
        state, {"x": split}
    )
    assert_trees_close(mapped.model_state, moved.model_state, rtol=1e-5)


@pytest.mark.parametrize("masked", [False, True])
def test_eval_step_under_pmap(masked):
    batch = {"x": X} | ({"mask": MASK} if masked else {})
    state = init_state(VANILLA, SGD, jax.random.key(0))
    expected = make_eval_step(VANILLA)(state, batch)
    split = jax.tree.map(lambda a: a.reshape(4, 4, *a.shape[1:]), batch)
    step = make_eval_step(VANILLA, axis_name="data")
    got = jax.pmap(step, axis_name="data", in_axes=(None, 0), out_axes=None)(state, split)
    assert_trees_close(got, expected, rtol=1e-5)
