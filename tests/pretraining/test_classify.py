"""A classifier on an encoder, and training that starts from given parameters."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from sklearn.datasets import load_digits

from ae_jax.models import Contractive, Convolutional, Denoising, Tied, Vanilla, Variational
from ae_jax.networks import MLP, RNN, ConvNet
from ae_jax.pretraining.classify import (
    accuracy,
    classifier,
    freeze_encoder,
    labeled,
    with_encoder,
)
from ae_jax.training import TrainState, fit, init_state, make_train_step

RNG = np.random.default_rng(0)
SIDE = MLP(widths=(8,), activation="tanh")
VANILLA = Vanilla(network=SIDE, latent_dim=4, latent_activation="tanh").build((8, 8))
VAE = Variational(network=SIDE, latent_dim=4).build((8, 8))
MODELS = {
    "vanilla": VANILLA,
    "vae": VAE,
    "vae-learned": Variational(likelihood="learned_gaussian", latent_dim=4).build((8, 8)),
    "tied": Tied(network=SIDE, latent_dim=4, latent_activation="tanh").build((8, 8)),
    "denoising": Denoising(network=SIDE, latent_dim=4, latent_activation="tanh").build((8, 8)),
    "contractive": Contractive(latent_dim=4, latent_activation="tanh").build((8, 8)),
    "conv": Convolutional(network=ConvNet(filters=(4, 3))).build((8, 8)),
    "lstm": Vanilla(network=RNN(widths=(6, 4)), latent_dim=None).build((8, 8)),
}
SGD = optax.sgd(0.1)
# Class k is bright in quarter k of the image.
LABEL = np.arange(80) % 4
X = np.float32(0.2 * RNG.uniform(size=(80, 8, 8)))
X[np.arange(80), 2 * LABEL] += 0.8
DATA = {"x": X, "label": LABEL}


def params_of(ae, seed=0):
    """Random parameters, biases too."""
    shapes = jax.eval_shape(lambda key: init_state(ae, SGD, key), jax.random.key(0)).params
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda p: np.float32(0.3 * rng.normal(size=p.shape)), shapes)


def state_of(params, tx):
    key = jax.random.key(0)
    return TrainState(jnp.int32(0), key, params, model_state={}, opt_state=tx.init(params))


def assert_same(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def changed(a, b):
    return [
        bool((np.asarray(p) != np.asarray(q)).any())
        for p, q in zip(*map(jax.tree.leaves, (a, b)), strict=True)
    ]


@pytest.mark.parametrize("name", MODELS)
def test_its_encoder_is_the_autoencoder_s(name):
    """Features are the autoencoder's codes, and the logits linear in them."""
    ae = MODELS[name]
    params = params_of(ae, seed=1)
    head = classifier(ae, 4)
    given = with_encoder(head, params)
    z = jax.jit(ae.encode)({"params": params}, X[:5])
    outputs = jax.jit(head.module.apply)({"params": given}, jnp.asarray(X[:5]))
    assert_same(outputs["z"], z)
    assert_same(jax.jit(head.encode)({"params": given}, X[:5]), z)
    kernel, bias = given["head"]["kernel"], given["head"]["bias"]
    expected = np.float64(z).reshape(5, -1) @ np.float64(kernel) + np.float64(bias)
    np.testing.assert_allclose(outputs["class_logits"], expected, rtol=1e-4, atol=1e-5)


def test_its_loss_is_the_cross_entropy_in_nats():
    head = classifier(VANILLA, 4)
    state = state_of(params_of(head), SGD)
    batch = {"x": jnp.asarray(X[:9]), "label": jnp.asarray(LABEL[:9])}
    _, metrics = jax.jit(make_train_step(head, SGD))(state, batch)
    logits = np.float64(head.module.apply(state.variables, batch["x"])["class_logits"])
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    nats = -np.log(p[np.arange(9), LABEL[:9]]).mean()
    np.testing.assert_allclose(metrics["cross_entropy"], nats, rtol=1e-5)
    assert metrics["loss"] == metrics["cross_entropy"]
    np.testing.assert_allclose(metrics["accuracy"], (p.argmax(1) == LABEL[:9]).mean(), rtol=1e-6)


def trained(head, params, tx, steps=3):
    """The classifier's parameters after a few steps on all of the data."""
    state = state_of(params, tx)
    step = jax.jit(make_train_step(head, tx))
    for _ in range(steps):
        state, _ = step(state, DATA)
    return state.params


@pytest.mark.parametrize("ae", [VANILLA, VAE], ids=["vanilla", "vae"])
def test_a_frozen_encoder_stays_and_a_fine_tuned_one_moves(ae):
    params = params_of(ae, seed=1)
    for frozen in (True, False):
        head = classifier(ae, 4, frozen=frozen)
        before = with_encoder(head, params)
        after = trained(head, before, optax.adam(1e-3))
        assert all(changed(after["head"], before["head"]))
        if frozen:
            assert_same(after["inner"], before["inner"])
        else:
            assert all(changed(after["inner"]["encoder"], before["inner"]["encoder"]))


def test_weight_decay_moves_a_frozen_encoder_unless_the_optimizer_is_told():
    head = classifier(VANILLA, 4)
    before = with_encoder(head, params_of(VANILLA))
    adamw = optax.adamw(1e-2, weight_decay=0.1)
    for tx, stays in ((adamw, False), (freeze_encoder(adamw), True)):
        after = trained(head, before, tx)
        assert any(changed(after["inner"], before["inner"])) is not stays
        assert all(changed(after["head"], before["head"]))


def test_separable_classes_are_learned_from_scratch():
    """By the ordinary `fit`, from pixels."""
    head = classifier(VANILLA, 4, frozen=False)
    pixels = {"x": np.uint8(255 * X), "label": LABEL}
    state, history = fit(head, pixels, epochs=100, batch_size=32, optimizer=1e-2)
    assert accuracy(head, state, pixels) == 1.0
    assert history[-1]["accuracy"] == 1.0
    assert history[-1]["cross_entropy"] < history[0]["cross_entropy"] / 10


def test_accuracy_is_the_fraction_of_right_answers():
    head = classifier(VAE, 4)
    state = state_of(params_of(head), SGD)
    logits = head.module.apply(state.variables, X)["class_logits"]
    expected = (np.asarray(logits).argmax(1) == LABEL).mean()
    assert 0 < expected < 1
    for batch_size in (7, 1000):
        got = accuracy(head, state, DATA, batch_size=batch_size)
        assert got == pytest.approx(expected, rel=1e-6)


@pytest.mark.slow
def test_a_hundred_labels_of_the_digits():
    """Codes learned from 1300 unlabeled digits, a head from 100 labels; chance is 0.1."""
    digits = load_digits()
    x, label = np.float32(digits.images / 16), digits.target
    ae = Vanilla(network=MLP(widths=(64,)), latent_dim=16, latent_activation="linear").build((8, 8))
    pretrained, _ = fit(ae, x[:1300], epochs=15, batch_size=64, optimizer=3e-3)
    head = classifier(ae, 10)
    params = with_encoder(head, pretrained.params)
    few = labeled({"x": x[:100], "label": label[:100]}, 10)
    state, _ = fit(head, few, params=params, epochs=100, batch_size=50, optimizer=1e-2)
    assert accuracy(head, state, {"x": x[1300:], "label": label[1300:]}) > 0.6


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        ({"x": X, "label": LABEL + 1}, ValueError, r"label\[3\] is 4: must be in 0 .. 3"),
        ({"x": X, "label": LABEL - 1}, ValueError, r"label\[0\] is -1"),
        ({"x": X, "label": LABEL[:-1]}, ValueError, "label has 79"),
        ({"x": X}, ValueError, "no 'label'"),
        ({"x": X, "label": np.float32(LABEL)}, TypeError, "float32"),
    ],
)
def test_labels_that_are_no_classes_are_refused(data, error, message):
    with pytest.raises(error, match=message):
        labeled(data, 4)
    head = classifier(VANILLA, 4)
    with pytest.raises(error, match=message):
        accuracy(head, state_of(params_of(head), SGD), data)


def test_what_cannot_be_a_classifier_is_refused():
    with pytest.raises(ValueError, match="classes=1"):
        classifier(VANILLA, 1)
    with pytest.raises(TypeError, match="model is a PlainModule: turn it into a classifier"):
        accuracy(VANILLA, state_of(params_of(VANILLA), SGD), DATA)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (VAE, "params: code/bias is missing; the encoder's has shape"),
        (
            Vanilla(network=SIDE, latent_dim=3).build((8, 8)),
            r"code/bias has shape \(3,\).*\(4,\)",
        ),
    ],
)
def test_parameters_of_another_model_are_refused(other, message):
    with pytest.raises(ValueError, match=message):
        with_encoder(classifier(VANILLA, 4), params_of(other))


class TestInitialParameters:
    """fit(params=...)"""

    given = params_of(VANILLA, seed=7)

    def test_training_starts_from_them(self):
        """One step, its average and the optimizer's state equal those written out."""
        given = jax.tree.map(jnp.asarray, self.given)
        keep = optax.GradientTransformation(lambda params: params, lambda g, state, _: (g, state))
        tx = optax.chain(optax.adam(0.01), keep)
        options = {"batch_size": 80, "optimizer": tx, "ema_decay": 0.9}
        state, _ = fit(VANILLA, X, steps=1, params=given, **options)
        expected, _ = jax.jit(make_train_step(VANILLA, tx))(state_of(given, tx), {"x": X})
        mean = jax.tree.map(lambda a, b: 0.9 * a + 0.1 * b, given, expected.params)
        for found, wanted in ((state.params, expected.params), (state.ema["params"], mean)):
            jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6), found, wanted)
        assert_same(state.opt_state[-1], self.given)
        assert_same(given, self.given)  # not donated

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda p: {**p, "extra": {"kernel": np.zeros(2)}}, "extra/kernel is not in the model"),
            (
                lambda p: {"code": p["code"], "decoder": p["decoder"]},
                "encoder/Dense_0/bias is miss",
            ),
            (
                lambda p: {**p, "code": {**p["code"], "bias": np.zeros(5)}},
                r"code/bias has shape \(5,\); the model's is \(4,\)",
            ),
        ],
    )
    def test_other_structures_are_refused(self, tmp_path, change, message):
        with pytest.raises(ValueError, match=f"params: {message}") as caught:
            fit(
                VANILLA,
                X,
                epochs=1,
                batch_size=40,
                params=change(self.given),
                run_dir=tmp_path / "r",
            )
        assert "\n" not in str(caught.value)
        assert not (tmp_path / "r").exists()
