"""RNN layers against float64 NumPy, and padding that changes nothing."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ae_jax.devices.mesh import data_mesh, put, replicated, split
from ae_jax.models import Vanilla, Variational
from ae_jax.networks import RNN
from ae_jax.networks.rnn import RecurrentLayer
from ae_jax.ops.recurrence import gru, lstm
from ae_jax.training import make_train_step

RNG = np.random.default_rng(0)
X = np.float32(RNG.normal(size=(4, 6, 3)))
LENGTH = jnp.asarray([6, 1, 4, 3])


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def reference(cell, params, x):
    """The recurrence written out, one step and one gate at a time."""
    kernel, bias = (np.float64(params[name]) for name in ("kernel", "bias"))
    recurrent = np.float64(params["recurrent"])
    width = len(recurrent)
    h = c = np.zeros((len(x), width))
    states = []
    for t in range(x.shape[1]):
        given = np.split(np.float64(x[:, t]) @ kernel + bias, recurrent.shape[1] // width, axis=1)
        own = np.split(h @ recurrent, recurrent.shape[1] // width, axis=1)
        if cell == "lstm":
            i, f, g, o = (a + b for a, b in zip(given, own, strict=True))
            c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
            h = sigmoid(o) * np.tanh(c)
        else:
            extra = np.split(np.float64(params["recurrent_bias"]), 3)
            r, u, n = (b + e for b, e in zip(own, extra, strict=True))
            u = sigmoid(given[1] + u)
            h = u * h + (1 - u) * np.tanh(given[2] + sigmoid(given[0] + r) * n)
        states.append(h)
    return np.stack(states, axis=1)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_layer_matches_float64(cell):
    layer = RecurrentLayer(5, cell)
    shapes = jax.eval_shape(lambda: layer.init(jax.random.key(0), X))["params"]
    params = jax.tree.map(lambda s: np.float32(RNG.normal(size=s.shape) / 2), shapes)
    apply = jax.jit(layer.apply, static_argnums=2)
    states = apply({"params": params}, X.swapaxes(0, 1)).swapaxes(0, 1)
    np.testing.assert_allclose(states, reference(cell, params, X), rtol=1e-4, atol=1e-6)
    same = np.repeat(X[:, :1], 6, axis=1)  # inputs that do not change are given once
    states = apply({"params": params}, X[None, :, 0], 6).swapaxes(0, 1)
    np.testing.assert_allclose(states, reference(cell, params, same), rtol=1e-4, atol=1e-6)


def plain_lstm(x, kernel, bias, recurrent, steps):
    """The recurrence with gates by name, left to differentiation."""

    def step(carry, x):
        h, c = carry
        i, f, g, o = jnp.split(x @ kernel + bias + h @ recurrent, 4, axis=-1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return (h, c), h

    zeros = jnp.zeros((x.shape[1], len(recurrent)))
    return jax.lax.scan(step, (zeros, zeros), jnp.broadcast_to(x, (steps, *x.shape[1:])))[1]


def plain_gru(x, kernel, bias, recurrent, recurrent_bias, steps):
    def step(h, x):
        r, u, n = jnp.split(x @ kernel + bias, 3, axis=-1)
        hr, hu, hn = jnp.split(h @ recurrent + recurrent_bias, 3, axis=-1)
        u = jax.nn.sigmoid(u + hu)
        h = u * h + (1 - u) * jnp.tanh(n + jax.nn.sigmoid(r + hr) * hn)
        return h, h

    zeros = jnp.zeros((x.shape[1], len(recurrent)))
    return jax.lax.scan(step, zeros, jnp.broadcast_to(x, (steps, *x.shape[1:])))[1]


def recurrence(cell, steps, given, inputs):
    """Both forms of a cell of 5 units, and their arguments."""
    gates = 5 * {"lstm": 4, "gru": 3}[cell]
    shapes = [(given, 4, inputs), (inputs, gates), (gates,), (5, gates)]
    forms = {"lstm": (lstm, plain_lstm), "gru": (gru, plain_gru)}[cell]
    arrays = [np.float32(RNG.normal(size=shape) / 2) for shape in shapes]
    if cell == "gru":
        arrays.append(np.float32(RNG.normal(size=gates) / 2))
    return forms, arrays


LENGTHS = {"one": (1, 1, 3), "narrow": (7, 7, 3), "wide": (7, 7, 9), "constant": (7, 1, 3)}
FAST = {("lstm", "narrow"), ("lstm", "constant"), ("gru", "wide")}
ALL = [(cell, name) for cell in ("lstm", "gru") for name in LENGTHS]


@pytest.mark.parametrize(
    ("cell", "name"), [p if p in FAST else pytest.param(*p, marks=pytest.mark.slow) for p in ALL]
)
def test_derivatives_are_those_of_the_definition(cell, name):
    steps, given, inputs = LENGTHS[name]
    forms, arrays = recurrence(cell, steps, given, inputs)
    weights = np.float32(RNG.normal(size=(steps, 4, 5)))
    directions = [np.float32(RNG.normal(size=a.shape)) for a in arrays]

    @jax.jit
    def everything(*arrays):
        found = []
        for fn in forms:

            def loss(*arrays, fn=fn):
                return (weights * fn(*arrays, steps)).sum()

            def norm(*arrays, loss=loss):  # a second derivative, as contractive has
                return jnp.square(jax.grad(loss)(*arrays)).sum()

            every = tuple(range(len(arrays)))
            value = jax.value_and_grad(loss, every)(*arrays)
            forward = jax.jvp(loss, arrays, tuple(directions))
            only = [jax.jvp(partial(loss, arrays[0]), arrays[1:], tuple(directions[1:]))]
            found.append((value, forward, only, jax.grad(norm, every)(*arrays)))
        return found

    close = partial(np.testing.assert_allclose, rtol=1e-4, atol=2e-5)
    jax.tree.map(close, *everything(*arrays))


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_devices_add_up_the_gradient_of_the_weights_once(cell, loops_that_sum_over_devices):
    (fn, _), arrays = recurrence(cell, 7, 7, 3)
    every = tuple(range(len(arrays)))
    grad = jax.jit(jax.grad(lambda *arrays: jnp.square(fn(*arrays)).sum(), every))
    mesh = data_mesh(2)
    placed = [jax.device_put(arrays[0], split(mesh, 1)), *put(arrays[1:], replicated(mesh))]
    program = grad.lower(*placed).compile()
    assert "all-reduce(" in program.as_text()
    assert loops_that_sum_over_devices(program) == []
    close = partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5)
    jax.tree.map(close, program(*placed), grad(*arrays))


def test_the_lstm_at_extreme_inputs():
    x = jnp.full((3, 1, 8), 1e4) * jnp.asarray([1, -1] * 4)

    def total(x):
        return lstm(x, jnp.eye(8), jnp.zeros(8), jnp.ones((2, 8))).sum()

    value, grads = jax.jit(jax.value_and_grad(total))(x)
    assert np.isfinite(value) and np.isfinite(grads).all()


@pytest.mark.parametrize(
    "spec",
    [
        Vanilla(network=RNN(widths=(5, 3)), latent_dim=None, loss="mse"),
        Vanilla(network=RNN(widths=(5,), cell="gru"), latent_dim=2, loss="mse"),
        Variational(network=RNN(widths=(5,)), latent_dim=2, likelihood="gaussian"),
    ],
    ids=["lstm", "gru", "vae"],
)
def test_padding_changes_no_latent_no_loss_and_no_parameter(spec, numpy_state):
    ae = spec.build((6, 3))
    state = numpy_state(ae, optax.sgd(0.1))
    junk = np.where(np.arange(6)[None, :, None] < LENGTH[:, None, None], X, 99.0)
    encode = jax.jit(ae.encode)
    np.testing.assert_array_equal(
        encode(state.variables, X, length=LENGTH), encode(state.variables, junk, length=LENGTH)
    )
    step = jax.jit(make_train_step(ae, optax.sgd(0.1)))
    clean, metrics = step(state, {"x": jnp.asarray(X), "length": LENGTH})
    padded, same = step(state, {"x": jnp.asarray(junk), "length": LENGTH})
    assert metrics == same
    jax.tree.map(np.testing.assert_array_equal, clean.params, padded.params)


def test_a_padded_sequence_has_the_latents_of_the_short_one(numpy_state):
    long = Vanilla(network=RNN(widths=(5, 3)), latent_dim=None).build((6, 3))
    short = Vanilla(network=RNN(widths=(5, 3)), latent_dim=None).build((4, 3))
    state = numpy_state(long, optax.sgd(0.1))
    z = jax.jit(short.encode)(state.variables, X[:, :4])
    padded = jax.jit(long.encode)(state.variables, X, length=jnp.full(4, 4))
    np.testing.assert_allclose(z, padded, rtol=1e-6)


def test_a_series_of_single_values_needs_no_axis_for_them(numpy_state):
    spec = Vanilla(network=RNN(widths=(5, 3)), latent_dim=2, loss="mse")
    series, column = spec.build((6,)), spec.build((6, 1))
    variables = numpy_state(column, optax.sgd(0.1)).variables
    x = X[..., 0]
    expected = jax.jit(column.reconstruct)(variables, x[..., None], length=LENGTH)
    recon = jax.jit(series.reconstruct)(variables, x, length=LENGTH)
    np.testing.assert_array_equal(recon, expected[..., 0])


def test_lengths_for_other_networks_are_refused(numpy_state):
    dense = Vanilla(latent_dim=2, loss="mse").build((6, 3))
    state = numpy_state(dense, optax.sgd(0.1))
    with pytest.raises(ValueError, match="length: this model does not read sequences"):
        dense.encode(state.variables, X, length=LENGTH)


@pytest.mark.parametrize(("latent_dim", "units"), [(2, [3, 5]), (None, [5])])
def test_the_decoder_mirrors_the_layers_before_the_latents(latent_dim, units, numpy_state):
    spec = Vanilla(network=RNN(widths=(5, 3)), latent_dim=latent_dim)
    params = numpy_state(spec.build((6, 3)), optax.sgd(0.1)).params["decoder"]
    layers = [params[name] for name in sorted(params) if "Recurrent" in name]
    assert [len(layer["recurrent"]) for layer in layers] == units
