"""Every model: shapes, gradients, encode and decode, on any event shape."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ae_jax import losses
from ae_jax.models import Convolutional, Vanilla, Variational
from ae_jax.networks import Conv, Dense
from ae_jax.training import init_state, make_eval_step, make_train_step

TX = optax.adam(1e-3)
POOL = Conv(filters=(4, 3))
STRIDE = Conv(filters=(4, 3), convs=2, down="stride")
MODELS = {
    "shallow": Vanilla(code_size=5),
    "deep": Vanilla(network=Dense(widths=(16, 8)), code_size=3, loss="mse"),
    "vae": Variational(network=Dense(widths=(16,)), code_size=2),
    "vae-mse": Variational(network=Dense(), code_size=2, loss="mse"),
    "conv": Convolutional(network=POOL),
    "conv-stride": Convolutional(network=STRIDE, loss="mse"),
    "conv-code": Vanilla(network=POOL, code_size=6),
    "vae-conv": Variational(network=STRIDE, code_size=4),
}
IMAGES = [(8, 8, 1), (7, 9, 3), (28, 28), (5, 1, 2), (1, 1, 1)]
CASES = [
    (name, shape)
    for name, spec in MODELS.items()
    for shape in (IMAGES if isinstance(spec.network, Conv) else [*IMAGES[:2], (11,), (2, 3, 4, 5)])
]


def batch_for(shape, rows=4):
    return {"x": jnp.asarray(np.random.default_rng(0).uniform(size=(rows, *shape)), jnp.float32)}


@pytest.mark.parametrize(("name", "shape"), CASES)
def test_shapes_and_gradients(name, shape):
    ae, batch = MODELS[name].build(shape), batch_for(shape)
    state = init_state(ae, TX, jax.random.key(0))
    z = ae.encode(state.variables, batch["x"])
    assert len(z) == 4
    recon = ae.decode(state.variables, z)
    assert recon.shape == batch["x"].shape
    np.testing.assert_allclose(recon, ae.reconstruct(state.variables, batch["x"]), rtol=1e-6)
    moved, metrics = jax.jit(make_train_step(ae, TX))(state, batch)
    assert all(jnp.isfinite(value) for value in metrics.values())
    changed = jax.tree.map(lambda a, b: bool((a != b).any()), state.params, moved.params)
    assert any(jax.tree.leaves(changed))


@pytest.mark.parametrize("name", MODELS)
def test_every_parameter_has_a_gradient(name):
    """No layer is cut off: on a generous input each parameter array moves in the first step."""
    ae, batch = MODELS[name].build((8, 8, 1)), batch_for((8, 8, 1), rows=64)
    state = init_state(ae, TX, jax.random.key(1))
    moved, _ = jax.jit(make_train_step(ae, TX))(state, batch)
    still = [
        jax.tree_util.keystr(path)
        for (path, a), b in zip(
            jax.tree_util.tree_leaves_with_path(state.params),
            jax.tree.leaves(moved.params),
            strict=True,
        )
        if (a == b).all()
    ]
    assert still == []


def test_widths_are_as_written():
    ae = Vanilla(network=Dense(widths=(128, 64)), code_size=32).build((28, 28))
    state = init_state(ae, TX, jax.random.key(0))
    kernels = [p for p in jax.tree.leaves(state.params) if p.ndim == 2]
    shapes = sorted(k.shape for k in kernels)
    assert shapes == sorted([(784, 128), (128, 64), (64, 32), (32, 64), (64, 128), (128, 784)])


def test_decoder_widths_may_differ():
    ae = Vanilla(network=Dense(widths=(7,), decoder_widths=(5, 6)), code_size=2).build((4,))
    state = init_state(ae, TX, jax.random.key(0))
    shapes = sorted(p.shape for p in jax.tree.leaves(state.params) if p.ndim == 2)
    assert shapes == sorted([(4, 7), (7, 2), (2, 5), (5, 6), (6, 4)])


def test_one_linear_layer_is_what_it_says():
    """A 3-2-3 linear autoencoder against the matrix product written out."""
    ae = Vanilla(code_size=2, code_activation="linear", loss="mse").build((3,))
    state = init_state(ae, TX, jax.random.key(0))
    x = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    p = state.params
    z = x @ p["code"]["kernel"] + p["code"]["bias"]
    recon = z @ p["decoder"]["Dense_0"]["kernel"] + p["decoder"]["Dense_0"]["bias"]
    np.testing.assert_allclose(ae.encode(state.variables, x), z, rtol=1e-5)
    np.testing.assert_allclose(ae.reconstruct(state.variables, x), recon, rtol=1e-5)


class TestVariational:
    ae = Variational(network=Dense(widths=(16,)), code_size=3, beta=2.5).build((6,))
    state = init_state(ae, TX, jax.random.key(0))
    batch = batch_for((6,))

    def test_samples_only_where_given_the_stream(self):
        x, variables = self.batch["x"], self.state.variables
        quiet = self.ae.module.apply(variables, x)
        np.testing.assert_array_equal(quiet["z"], quiet["mean"])
        noisy = self.ae.module.apply(variables, x, rngs={"latent": jax.random.key(0)})
        again = self.ae.module.apply(variables, x, rngs={"latent": jax.random.key(0)})
        other = self.ae.module.apply(variables, x, rngs={"latent": jax.random.key(1)})
        np.testing.assert_array_equal(noisy["z"], again["z"])
        assert (noisy["z"] != other["z"]).all() and (noisy["z"] != quiet["z"]).all()

    def test_samples_have_the_posterior_s_moments(self):
        x = jnp.tile(self.batch["x"][:1], (20_000, 1))
        outputs = self.ae.module.apply(self.state.variables, x, rngs={"latent": jax.random.key(0)})
        std = jnp.exp(0.5 * outputs["logvar"][0])
        np.testing.assert_allclose(outputs["z"].mean(0), outputs["mean"][0], atol=0.03)
        np.testing.assert_allclose(outputs["z"].std(0), std, rtol=0.03)

    def test_loss_is_the_negative_elbo(self):
        metrics = make_eval_step(self.ae)(self.state, self.batch, jax.random.key(7))
        np.testing.assert_allclose(metrics["loss"], metrics["bce"] + 2.5 * metrics["kl"], rtol=1e-6)
        outputs = self.ae.module.apply(self.state.variables, self.batch["x"])
        kl = losses.gaussian_kl(outputs["mean"], outputs["logvar"]).mean()
        np.testing.assert_allclose(metrics["kl"], kl, rtol=1e-6)


def test_convolutions_refuse_vectors():
    with pytest.raises(ValueError, match=r"event_shape=\(11,\).*dense"):
        Convolutional().build((11,))


def test_wrong_event_shape_is_named():
    ae = Vanilla().build((8, 8))
    state = init_state(ae, TX, jax.random.key(0))
    with pytest.raises(ValueError, match=r"\(2, 9, 8\); this model was built for \[B, 8, 8\]"):
        ae.encode(state.variables, jnp.zeros((2, 9, 8)))
