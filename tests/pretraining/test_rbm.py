"""Restricted Boltzmann machines against machines small enough to enumerate, in float64 NumPy."""

from functools import partial
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ae_jax.data.memory import epoch_order
from ae_jax.models import Convolutional, Tied, Vanilla
from ae_jax.networks import MLP
from ae_jax.pretraining.rbm import (
    RBM,
    cd1_gradient,
    free_energy,
    hidden_mean,
    init_rbm,
    pretrain_rbm_stack,
    train_rbm,
    visible_mean,
)
from ae_jax.training import init_state

V = np.array(list(product([0.0, 1.0], repeat=4)))  # every visible state, [16, 4]
H = np.array(list(product([0.0, 1.0], repeat=3)))  # every hidden state, [8, 3]
RNG = np.random.default_rng(0)
W, B, C = RNG.normal(size=(4, 3)), RNG.normal(size=4), RNG.normal(size=3)
MACHINE = RBM(*(jnp.asarray(a, jnp.float32) for a in (W, B, C)))
NAMES = RBM._fields

# Gauss-Hermite quadrature of functions of 3 independent N(0, 1), exact for polynomials to degree 47
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(24)
POINTS = np.array(list(product(NODES, repeat=3)))
POINT_WEIGHTS = np.array(list(product(WEIGHTS / WEIGHTS.sum(), repeat=3))).prod(1)


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def log_joint(w, b, c):
    """-E(v, h) of all states: [16, 8]."""
    return V @ w @ H.T + (V @ b)[:, None] + H @ c


def log_likelihood(w, b, c, x):
    """The exact mean log p(v) over binary rows x."""
    joint = log_joint(w, b, c)
    log_p = np.log(np.exp(joint).sum(1)) - np.log(np.exp(joint).sum())
    rows = [int("".join(str(int(bit)) for bit in row), 2) for row in x]
    return log_p[rows].mean()


def finite_differences(f, arrays, h=1e-5):
    """The gradient of f(*arrays), arrays of float64."""
    gradients = []
    for i, a in enumerate(arrays):
        gradient = np.zeros_like(a)
        for index in np.ndindex(a.shape):
            step = np.zeros_like(a)
            step[index] = h
            sides = [f(*arrays[:i], a + sign * step, *arrays[i + 1 :]) for sign in (1, -1)]
            gradient[index] = (sides[0] - sides[1]) / (2 * h)
        gradients.append(gradient)
    return gradients


def mean_gradient(v, weights=None):
    """The code's d/dparams of the (weighted) mean free energy of rows v."""
    weights = np.full(len(v), 1 / len(v)) if weights is None else weights
    v, weights = jnp.asarray(v, jnp.float32), jnp.asarray(weights, jnp.float32)
    return jax.jit(jax.grad(lambda p: weights @ free_energy(p, v)))(MACHINE)


def test_free_energy_is_the_log_sum_over_hidden_states():
    expected = -np.log(np.exp(log_joint(W, B, C)).sum(1))
    np.testing.assert_allclose(free_energy(MACHINE, jnp.asarray(V)), expected, rtol=1e-5, atol=1e-6)


def test_free_energy_of_linear_units_is_the_log_integral():
    """With h = c + noise, -E + |noise|^2/2 = b.v + v W h: an expectation over N(0, I)."""
    drive = (V @ W) @ (C + POINTS).T  # [16, 24^3]
    expected = -(V @ B) - np.log(np.exp(drive) @ POINT_WEIGHTS)
    ours = free_energy(MACHINE, jnp.asarray(V), linear_hidden=True)
    np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-6)


def test_conditional_means_are_those_of_the_joint_distribution():
    joint = np.exp(log_joint(W, B, C))
    h_given_v = joint @ H / joint.sum(1, keepdims=True)
    v_given_h = joint.T @ V / joint.sum(0)[:, None]
    np.testing.assert_allclose(hidden_mean(MACHINE, V), h_given_v, rtol=1e-5)
    np.testing.assert_allclose(visible_mean(MACHINE, jnp.asarray(H)), v_given_h, rtol=1e-5)


def test_free_energy_gives_the_exact_gradient_of_the_likelihood():
    """d log p = mean dF over the model - mean dF over the data, against finite differences."""
    x = V[[3, 3, 5, 9, 14]]
    exact = finite_differences(lambda w, b, c: log_likelihood(w, b, c, x), [W, B, C])
    p = np.exp(log_joint(W, B, C)).sum(1)
    model, data = mean_gradient(V, p / p.sum()), mean_gradient(x)
    for name, gradient in zip(NAMES, exact, strict=True):
        ours = getattr(model, name) - getattr(data, name)
        np.testing.assert_allclose(ours, gradient, rtol=1e-4, atol=1e-6, err_msg=name)


def expected_cd1(v, *, linear_hidden):
    """CD-1 for one row, averaged over every hidden state (or by quadrature), written out."""
    up = (lambda v: v @ W + C) if linear_hidden else (lambda v: sigmoid(v @ W + C))
    if linear_hidden:
        states, weights = up(v) + POINTS, POINT_WEIGHTS
    else:
        states, weights = H, np.where(H == 1, up(v), 1 - up(v)).prod(1)
    v1 = sigmoid(states @ W.T + B)
    kernel = np.einsum("s,si,sj->ij", weights, v1, up(v1)) - np.outer(v, up(v))
    return RBM(kernel, weights @ v1 - v, weights @ up(v1) - up(v))


@pytest.mark.parametrize("linear_hidden", [False, True], ids=["binary", "linear"])
def test_cd1_has_the_enumerated_expectation(linear_hidden):
    """For a binary and a real-valued row, 200 estimates of 200 copies: within 5 standard errors."""

    @jax.jit
    def estimates(row, key):
        v = jnp.tile(row, (200, 1))
        cd1 = partial(cd1_gradient, MACHINE, v=v, linear_hidden=linear_hidden)
        return jax.vmap(lambda key: cd1(key)[0])(jax.random.split(key, 200))

    for i, row in enumerate(np.array([[0.0, 1.0, 1.0, 0.0], [0.2, 0.9, 0.5, 1.0]])):
        expected = expected_cd1(row, linear_hidden=linear_hidden)
        found = estimates(jnp.asarray(row, jnp.float32), jax.random.key(i))
        for name in NAMES:
            sample = np.float64(getattr(found, name))
            error = sample.std(axis=0) / np.sqrt(200)
            gap = np.abs(sample.mean(axis=0) - getattr(expected, name))
            assert (gap < 5 * error + 1e-6).all(), name
            assert error.max() < 5e-3


def test_cd1_reconstructs_what_it_compares():
    """A row's reconstruction takes one of 8 values, as likely as the hidden state it comes from."""
    v = jnp.tile(jnp.asarray(V[6], jnp.float32), (20_000, 1))
    _, recon = jax.jit(cd1_gradient)(MACHINE, jax.random.key(0), v)
    candidates = sigmoid(H @ W.T + B)
    distance = np.abs(np.asarray(recon)[:, None] - candidates).max(2)
    assert distance.min(1).max() < 1e-5
    rates = np.bincount(distance.argmin(1), minlength=8) / len(v)
    on = sigmoid(V[6] @ W + C)
    np.testing.assert_allclose(rates, np.where(H == 1, on, 1 - on).prod(1), atol=0.015)


@pytest.mark.parametrize("linear_hidden", [False, True], ids=["binary", "linear"])
def test_a_padded_batch_equals_the_short_one(linear_hidden):
    key = jax.random.key(0)
    v = jnp.asarray(RNG.uniform(size=(16, 4)), jnp.float32).at[11:].set(9.0)
    mask = jnp.asarray([1.0] * 11 + [0.0] * 5)
    cd1 = jax.jit(partial(cd1_gradient, MACHINE, linear_hidden=linear_hidden))
    padded, recon = cd1(key, v, where=mask)
    short, short_recon = cd1(key, v[:11])
    for name in NAMES:
        a, b = getattr(padded, name), getattr(short, name)
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(recon[:11], short_recon, rtol=1e-6)


@pytest.mark.parametrize("linear_hidden", [False, True], ids=["binary", "linear"])
def test_training_equals_the_update_rule_written_out(linear_hidden):
    """Momentum, weight cost, order and the partial batch, over the change of momentum."""
    x = np.float32(RNG.uniform(size=(13, 4)))
    key, rows = jax.random.key(1), []
    options = {"learning_rate": 0.05, "momentum": (0.3, 0.8), "weight_cost": 0.01}
    ours = train_rbm(
        x, 3, key=key, epochs=7, batch_size=5, linear_hidden=linear_hidden,
        callbacks=[lambda params, row: rows.append(row)], **options,
    )  # fmt: skip
    init_key, order_key, noise_key = jax.random.split(key, 3)
    params = init_rbm(init_key, 4, 3)
    velocity = RBM(*(np.zeros(p.shape) for p in params))
    cd1 = jax.jit(partial(cd1_gradient, linear_hidden=linear_hidden))
    for epoch in range(7):
        momentum, total = (0.3 if epoch < 5 else 0.8), 0.0
        order = np.asarray(epoch_order(order_key, epoch, count=13, batch_size=5))
        for i, indices in enumerate(order):
            batch = jnp.asarray(x[indices[indices >= 0]])
            noise = jax.random.fold_in(jax.random.fold_in(noise_key, epoch), i)
            gradient, recon = cd1(params, noise, batch)
            decay = RBM(0.01 * params.kernel, 0.0, 0.0)
            velocity = RBM(
                *(
                    momentum * u - 0.05 * (g + d)
                    for u, g, d in zip(velocity, gradient, decay, strict=True)
                )
            )
            params = RBM(*(p + u for p, u in zip(params, velocity, strict=True)))
            total += float(((batch - recon) ** 2).sum())
        np.testing.assert_allclose(rows[epoch]["squared_error"], total / 13, rtol=1e-4)
    for a, b in zip(ours, params, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)
    assert [row["epoch"] for row in rows] == list(range(1, 8))
    assert {(row["visible"], row["hidden"]) for row in rows} == {(4, 3)}


def test_training_raises_the_exact_likelihood():
    """Two of the sixteen patterns: from near log(1/16) most of the way to log(1/2)."""
    x = np.tile(np.float32([[1, 1, 0, 0], [0, 0, 1, 1]]), (50, 1))
    scores = []

    def score(params, row):
        scores.append(log_likelihood(*(np.float64(p) for p in params), x))

    train_rbm(x, 3, key=jax.random.key(0), epochs=300, batch_size=20, callbacks=[score])
    assert scores[0] < -2.5
    assert scores[-1] > -1.0


SPEC = Vanilla(
    network=MLP(widths=(7, 5), activation="sigmoid"), latent_dim=3, latent_activation="linear"
)
IMAGES = np.float32(np.repeat(RNG.random((60, 2)) > 0.5, 3, axis=1).reshape(60, 3, 2))


def shapes_of(ae):
    return jax.eval_shape(partial(init_state, ae, optax.sgd(0.1)), jax.random.key(0)).params


@pytest.fixture(scope="module")
def stack():
    """The model, its pretrained parameters, and the machines they were unrolled from."""
    machines = {}
    ae = SPEC.build((3, 2))
    keep = [lambda params, row: machines.update({row["hidden"]: params})]
    params = pretrain_rbm_stack(
        ae, IMAGES, epochs=3, batch_size=16, latent_learning_rate=0.01, callbacks=keep
    )
    return ae, params, [machines[hidden] for hidden in (7, 5, 3)]


def test_unrolled_it_has_the_model_s_structure(stack):
    ae, params, _ = stack
    fresh = shapes_of(ae)
    assert jax.tree.structure(params) == jax.tree.structure(fresh)
    same = jax.tree.map(lambda p, q: (p.shape, p.dtype) == (q.shape, q.dtype), params, fresh)
    assert jax.tree.all(same)


def test_unrolled_it_is_the_machines_mean_field_passes(stack):
    """Up with hidden biases, down with the transposed weights and visible biases."""
    ae, params, machines = stack
    in_float64 = [RBM(*(np.float64(p) for p in machine)) for machine in machines]
    h = np.float64(IMAGES.reshape(60, 6))
    for i, (w, _, c) in enumerate(in_float64):
        h = h @ w + c if i == 2 else sigmoid(h @ w + c)
    np.testing.assert_allclose(ae.encode({"params": params}, IMAGES), h, rtol=1e-4, atol=1e-5)
    for w, b, _ in reversed(in_float64):
        h = sigmoid(h @ w.T + b)
    recon = ae.reconstruct({"params": params}, IMAGES)
    np.testing.assert_allclose(recon, h.reshape(60, 3, 2), rtol=1e-4, atol=1e-5)


def test_each_machine_is_trained_on_the_probabilities_of_the_one_below(stack):
    _, _, (first, second, _) = stack
    key = jax.random.fold_in(jax.random.key(0), 1)
    data = hidden_mean(first, IMAGES.reshape(60, 6))
    alone = train_rbm(data, 5, key=key, epochs=3, batch_size=16)
    for a, b in zip(alone, second, strict=True):
        np.testing.assert_array_equal(a, b)


def test_one_machine_makes_a_shallow_model():
    network = MLP(activation="sigmoid")
    ae = Vanilla(network=network, latent_dim=3, latent_activation="linear").build((6,))
    params = pretrain_rbm_stack(ae, IMAGES.reshape(60, 6), epochs=1)
    fresh = shapes_of(ae)
    assert jax.tree.structure(params) == jax.tree.structure(fresh)


def test_uint8_is_read_as_the_unit_interval():
    x = IMAGES.reshape(60, 6)
    options = {"key": jax.random.key(0), "epochs": 2, "batch_size": 16}
    from_floats, from_pixels = (
        train_rbm(x, 7, **options),
        train_rbm(np.uint8(255 * x), 7, **options),
    )
    for a, b in zip(from_floats, from_pixels, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)


def test_an_unrolled_stack_reconstructs_before_any_fine_tuning():
    """Two binary factors, each seen in three pixels: far below the error of the mean image."""
    ae = SPEC.build((3, 2))
    params = pretrain_rbm_stack(ae, IMAGES, epochs=150, batch_size=16, latent_learning_rate=0.03)
    error = np.square(ae.reconstruct({"params": params}, IMAGES) - IMAGES).sum((1, 2)).mean()
    assert error < 0.2 * IMAGES.var(axis=0).sum()


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (Convolutional(), "must be a plain autoencoder with an MLP"),
        (Tied(network=SPEC.network, latent_activation="linear"), "tied=True: a stack"),
        (Vanilla(network=SPEC.network), "latent_activation='relu': .*'linear'"),
        (Vanilla(network=MLP(widths=(7,)), latent_activation="linear"), "activation='relu'"),
        (Vanilla(network=SPEC.network, latent_activation="linear", loss="mse"), "loss='mse'"),
        (
            Vanilla(network=MLP(widths=(7, 5), decoder_widths=(7, 5), activation="sigmoid")),
            r"decoder_widths=\(7, 5\)",
        ),
    ],
)
def test_models_that_no_stack_unrolls_into_are_refused(model, message):
    with pytest.raises(ValueError, match=message):
        pretrain_rbm_stack(model.build((8, 8)), np.zeros((10, 8, 8), np.float32))


@pytest.mark.parametrize(
    ("x", "options", "message"),
    [
        (IMAGES, {}, r"x.shape=\(60, 3, 2\)"),
        (2 * IMAGES[:, 0], {}, r"\[0.0, 2.0\]"),
        (IMAGES[:, 0] * np.nan, {}, "NaN"),
        (IMAGES[:, 0], {"hidden": 0}, "hidden=0"),
        (IMAGES[:, 0], {"epochs": 0}, "epochs=0"),
        (IMAGES[:, 0], {"batch_size": 2.5}, "batch_size=2.5"),
        (IMAGES[:, 0], {"learning_rate": 0.0}, "learning_rate=0.0"),
        (IMAGES[:, 0], {"momentum": (0.5, 1.0)}, r"momentum=\(0.5, 1.0\)"),
        (IMAGES[:, 0], {"weight_cost": -1.0}, "weight_cost=-1.0"),
    ],
)
def test_bad_input_is_refused(x, options, message):
    with pytest.raises(ValueError, match=message) as caught:
        train_rbm(x, **({"hidden": 3, "key": jax.random.key(0)} | options))
    assert "\n" not in str(caught.value)


def test_images_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"\(60, 3, 2\); this model was built for \[N, 2, 3\]"):
        pretrain_rbm_stack(SPEC.build((2, 3)), IMAGES)
