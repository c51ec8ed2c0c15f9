"""Every model: shapes, gradients, encode and decode, on any event shape."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ae_jax import losses
from ae_jax.models import (
    Contractive,
    Convolutional,
    Denoising,
    Model,
    Sparse,
    Tied,
    Vanilla,
    Variational,
)
from ae_jax.networks import MLP, RNN, ConvNet
from ae_jax.spec import from_dict, to_dict
from ae_jax.training import make_eval_step, make_train_step

TX = optax.adam(1e-3)
POOL = ConvNet(filters=(4, 3))
STRIDE = ConvNet(filters=(4, 3), convs=2, down="stride", up="transpose")
SIGMOID = {"latent_dim": 5, "latent_activation": "sigmoid"}
MODELS = {
    "shallow": Vanilla(latent_dim=5),
    "deep": Vanilla(network=MLP(widths=(16, 8)), latent_dim=3, loss="mse"),
    "tied": Tied(network=MLP(widths=(16, 8)), latent_dim=3),
    "denoising": Denoising(latent_dim=5, noise="masking", level=0.3),
    "sparse-l1": Sparse(latent_dim=20),
    "sparse-kl": Sparse(network=MLP(widths=(9,)), penalty="kl", **SIGMOID),
    "contractive": Contractive(**SIGMOID),
    "contractive-probes": Contractive(network=MLP(widths=(9,)), latent_dim=4, probes=2),
    "vae": Variational(network=MLP(widths=(16,)), latent_dim=2),
    "vae-binarize": Variational(latent_dim=2, binarize=True),
    "vae-free-bits": Variational(latent_dim=2, free_bits=0.1, warmup_steps=5),
    "vae-gaussian": Variational(latent_dim=2, likelihood="gaussian", variance=0.5),
    "vae-learned": Variational(latent_dim=2, likelihood="learned_gaussian"),
    "conv": Convolutional(network=POOL),
    "conv-valid": Convolutional(network=ConvNet(filters=(4, 3, 2), odd="valid")),
    "conv-bottleneck": Convolutional(network=ConvNet(filters=(4, 3), bottleneck=5)),
    "conv-blocks": Vanilla(network=ConvNet(filters=(4, 3), convs=2), latent_dim=6),
    "conv-stride": Convolutional(network=STRIDE, loss="mse", output_activation="sigmoid"),
    "conv-denoising": Denoising(network=POOL, latent_dim=None),
    "conv-contractive": Contractive(network=STRIDE, latent_dim=4),
    "vae-conv": Variational(network=STRIDE, latent_dim=4),
    "lstm": Vanilla(network=RNN(widths=(6, 3)), latent_dim=None),
    "gru": Vanilla(network=RNN(widths=(6,), cell="gru"), latent_dim=4, loss="mse"),
    "vae-lstm": Variational(network=RNN(widths=(6,)), latent_dim=2),
}
SHAPES = {MLP: (2, 3, 4), ConvNet: (7, 9, 3), RNN: (5, 3)}
CASES = [(name, SHAPES[type(spec.network)]) for name, spec in MODELS.items()]
CASES += [("shallow", (11,)), ("conv", (8, 8)), ("lstm", (8, 8, 1))]


def batch_for(shape, rows=4):
    return {"x": jnp.asarray(np.random.default_rng(0).uniform(size=(rows, *shape)), jnp.float32)}


SLOWER = ("conv-contractive", "conv-blocks", "conv-bottleneck", "conv-denoising", "conv-stride")
SLOWER += ("conv-valid", "vae-conv")


@pytest.mark.parametrize(
    ("name", "shape"),
    [pytest.param(*c, marks=pytest.mark.slow) if c[0] in SLOWER else c for c in CASES],
)
def test_a_model_encodes_decodes_and_trains(name, shape, numpy_state):
    ae, batch = MODELS[name].build(shape), batch_for(shape, rows=32)

    @jax.jit  # one program, because compiling is what takes the time
    def everything(state):
        z = ae.encode(state.variables, batch["x"])
        recon = ae.decode(state.variables, z)
        whole = ae.reconstruct(state.variables, batch["x"])
        return z, recon, whole, *make_train_step(ae, TX)(state, batch)

    state = numpy_state(ae, TX)
    z, recon, whole, moved, metrics = everything(state)
    assert len(z) == 32
    assert recon.shape == batch["x"].shape
    np.testing.assert_allclose(recon, whole, rtol=1e-6)
    assert metrics.keys() == {"loss", *ae.objective}
    assert all(jnp.isfinite(value) for value in metrics.values())
    still = [
        jax.tree_util.keystr(path)
        for (path, a), b in zip(
            jax.tree_util.tree_leaves_with_path(state.params),
            jax.tree.leaves(moved.params),
            strict=True,
        )
        if (a == b).all()
    ]
    assert still == []  # no layer is cut off: every parameter array has a gradient


@pytest.mark.parametrize("name", MODELS)
def test_specifications_go_through_json(name):
    assert from_dict(Model, json.loads(json.dumps(to_dict(MODELS[name])))) == MODELS[name]


def test_widths_are_as_written(numpy_state):
    ae = Vanilla(network=MLP(widths=(128, 64)), latent_dim=32).build((28, 28))
    state = numpy_state(ae, TX)
    kernels = [p for p in jax.tree.leaves(state.params) if p.ndim == 2]
    shapes = sorted(k.shape for k in kernels)
    assert shapes == sorted([(784, 128), (128, 64), (64, 32), (32, 64), (64, 128), (128, 784)])


def test_decoder_widths_may_differ(numpy_state):
    ae = Vanilla(network=MLP(widths=(7,), decoder_widths=(5, 6)), latent_dim=2).build((4,))
    state = numpy_state(ae, TX)
    shapes = sorted(p.shape for p in jax.tree.leaves(state.params) if p.ndim == 2)
    assert shapes == sorted([(4, 7), (7, 2), (2, 5), (5, 6), (6, 4)])


def test_one_linear_layer_is_what_it_says(numpy_state):
    """A 3-2-3 linear autoencoder against the matrix product written out."""
    ae = Vanilla(latent_dim=2, latent_activation="linear", loss="mse").build((3,))
    state = numpy_state(ae, TX)
    x = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    p = state.params
    z = x @ p["code"]["kernel"] + p["code"]["bias"]
    recon = z @ p["decoder"]["Dense_0"]["kernel"] + p["decoder"]["Dense_0"]["bias"]
    np.testing.assert_allclose(ae.encode(state.variables, x), z, rtol=1e-5)
    np.testing.assert_allclose(ae.reconstruct(state.variables, x), recon, rtol=1e-5)


class TestVariational:
    ae = Variational(network=MLP(widths=(16,)), latent_dim=3, beta=2.5).build((6,))
    batch = batch_for((6,))

    @pytest.fixture(autouse=True)
    def make_state(self, numpy_state):
        self.state = numpy_state(self.ae, TX)

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
        np.testing.assert_allclose(metrics["loss"], metrics["nll"] + 2.5 * metrics["kl"], rtol=1e-6)
        outputs = self.ae.module.apply(self.state.variables, self.batch["x"])
        kl = losses.gaussian_kl(outputs["mean"], outputs["logvar"]).mean()
        np.testing.assert_allclose(metrics["kl"], kl, rtol=1e-6)


def test_convolutions_refuse_vectors():
    with pytest.raises(ValueError, match=r"event_shape=\(11,\).*dense"):
        Convolutional().build((11,))


def test_wrong_event_shape_is_named(numpy_state):
    ae = Vanilla().build((8, 8))
    state = numpy_state(ae, TX)
    with pytest.raises(ValueError, match=r"\(2, 9, 8\); this model was built for \[B, 8, 8\]"):
        ae.encode(state.variables, jnp.zeros((2, 9, 8)))
