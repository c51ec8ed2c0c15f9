"""The activations of a layer are what the layer computes."""

from dataclasses import replace

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ae_jax.core import Autoencoder, init_state
from ae_jax.data import layer_names, layer_of, write_activations
from ae_jax.data.shards import columns
from ae_jax.evaluation.classifiers import load_classifier
from ae_jax.models import Vanilla, Variational
from ae_jax.networks import MLP, RNN

RNG = np.random.default_rng(0)
X = RNG.random((13, 6, 5)).astype(np.float32)


def built(spec):
    ae = spec.build((6, 5))
    return ae, jax.jit(lambda: init_state(ae, optax.sgd(0.1), jax.random.key(1)))().variables


MODEL = Variational(network=MLP(widths=(8, 4)), latent_dim=3)


def test_the_layers_of_a_dense_net():
    ae, variables = built(MODEL)
    assert layer_names(ae, variables) == [
        "decoder", "decoder/Dense_0", "decoder/Dense_1", "decoder/Dense_2", "encoder",
        "encoder/Dense_0", "encoder/Dense_1", "logvar", "mean",
    ]  # fmt: skip
    weights = jax.tree.map(lambda a: np.float64(a), variables["params"]["encoder"])
    h = X.reshape(13, -1).astype(np.float64)
    for i in range(2):
        layer = weights[f"Dense_{i}"]
        h = h @ layer["kernel"] + layer["bias"]
        out = jax.jit(layer_of(ae, variables, f"encoder/Dense_{i}"))({"x": X})
        np.testing.assert_allclose(out, h, rtol=1e-5, atol=1e-5)
        h = np.maximum(h, 0)
    np.testing.assert_allclose(layer_of(ae, variables, "encoder")({"x": X}), h, atol=1e-5)
    np.testing.assert_array_equal(
        layer_of(ae, variables, "mean")({"x": X}), ae.encode(variables, X)
    )


def test_a_recurrent_layer_has_its_steps_in_front():
    ae, variables = built(Vanilla(network=RNN(widths=(4, 3)), latent_dim=None, loss="mse"))
    layer = layer_of(ae, variables, "encoder/RecurrentLayer_0")
    out = jax.jit(layer)({"x": X})
    assert out.shape == (13, 6, 4)
    for i in (0, 7):  # of an example alone
        np.testing.assert_allclose(jax.jit(layer)({"x": X[i : i + 1]})[0], out[i], atol=1e-6)


def test_a_layer_of_a_shipped_classifier_is_written_by_position(tmp_path):
    model, variables = load_classifier("mnist-conv-64")
    x = RNG.integers(0, 256, (7, 28, 28, 1), np.uint8)
    path = "inner/encoder/Conv_2"
    layer = layer_of(model, variables, path, positions=True)
    maps = layer_of(model, variables, path)({"x": x})
    assert maps.shape == (7, 4, 4, 64)
    data = columns(write_activations(layer, x, tmp_path / "a", batch_size=4, dtype="float16"))
    assert data["x"].shape == (7 * 16, 64)
    at = (data["row"][:], data["position"][:] // 4, data["position"][:] % 4)
    np.testing.assert_allclose(data["x"][:], maps[at], rtol=1e-3, atol=1e-3)
    head = layer_of(model, variables, "head")({"x": x})
    np.testing.assert_allclose(head, model.outputs(variables, {"x": x})["class_logits"], atol=1e-5)


def test_low_precision_gives_float32():
    ae, variables = built(MODEL)
    low = replace(ae, dtype=jnp.bfloat16)
    out = layer_of(low, variables, "encoder/Dense_1")({"x": X})
    assert out.dtype == jnp.float32
    np.testing.assert_allclose(out, layer_of(ae, variables, "encoder/Dense_1")({"x": X}), atol=0.1)


class Shared(nn.Module):
    """A layer that is called twice, one that reads a column, and one that mixes the batch."""

    def setup(self):
        self.once, self.twice, self.mix = nn.Dense(3), nn.Dense(3), nn.Dense(2)

    def __call__(self, x, angle):
        h = self.twice(self.twice(self.once(x) + angle[:, None]))
        return {"recon": self.mix(h.T @ h)}


def test_what_is_no_layer_of_examples_is_refused():
    ae = Autoencoder(Shared(), {}, (3,), columns={"angle": ()})
    x, angle = X[:, 0, :3], X[:, 0, 4]
    variables = ae.module.init(jax.random.key(0), x, angle=angle)
    assert layer_names(ae, variables) == ["once"]
    kernel = variables["params"]["once"]["kernel"]
    out = layer_of(ae, variables, "once")({"x": x, "angle": angle})
    np.testing.assert_allclose(out, x @ kernel, rtol=1e-5, atol=1e-6)
    for path, end in (("twice", "known: once"), ("onze", "did you mean 'once'?"), ("", "known")):
        with pytest.raises(ValueError, match=f"^layer {path!r}: {end}") as caught:
            layer_of(ae, variables, path)
        assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="the model reads 'angle', which the data lacks"):
        layer_of(ae, variables, "once")({"x": x})
