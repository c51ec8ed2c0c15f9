"""Convolutional networks: the sizes and weights that the published ones have."""

from functools import partial
from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ae_jax.core import init_state
from ae_jax.models import Convolutional, Vanilla
from ae_jax.networks import ConvNet
from ae_jax.networks.activations import INCREASING, Activation, activation
from ae_jax.ops.convolution import conv, max_pool


def shapes(spec, event_shape):
    ae = spec.build(event_shape)
    state = jax.eval_shape(lambda: init_state(ae, optax.sgd(0.1), jax.random.key(0)))
    x = jax.ShapeDtypeStruct((1, *event_shape), np.float32)
    code = jax.eval_shape(ae.encode, state.variables, x).shape
    out = jax.eval_shape(ae.reconstruct, state.variables, x).shape
    kernels = [p.shape for p in jax.tree.leaves(state.params) if len(p.shape) == 4]
    return code[1:], out[1:], sorted(kernels)


def test_keras_blog_net():
    net = ConvNet(filters=(16, 8, 8), odd="valid")
    code, out, kernels = shapes(Convolutional(network=net), (28, 28, 1))
    assert code == (4, 4, 8) and out == (28, 28, 1)
    pairs = [(1, 16), (16, 8), (8, 8), (8, 8), (8, 8), (8, 16), (16, 1)]
    assert kernels == sorted((3, 3, *pair) for pair in pairs)


def test_bottleneck_net():
    net = ConvNet(filters=(64, 128), bottleneck=256)
    code, _, kernels = shapes(Convolutional(network=net), (28, 28, 1))
    assert code == (7, 7, 256)
    pairs = [(1, 64), (64, 128), (128, 256), (256, 128), (128, 64), (64, 1)]
    assert kernels == sorted((3, 3, *pair) for pair in pairs)


def test_geron_net():
    net = ConvNet(filters=(16, 32, 64), odd="floor", up="transpose", activation="selu")
    code, out, kernels = shapes(Convolutional(network=net), (28, 28))
    assert code == (3, 3, 64) and out == (28, 28)
    pairs = [(1, 16), (16, 32), (32, 64), (64, 32), (32, 16), (16, 1)]
    assert kernels == sorted((3, 3, *pair) for pair in pairs)


def sizes(every, quick):
    """`every` size; those that are not `quick` are in the slow group."""
    return [n if n in quick else pytest.param(n, marks=pytest.mark.slow) for n in every]


@pytest.mark.parametrize("odd", ["crop", "valid"])
@pytest.mark.parametrize("size", sizes(range(1, 30), {1, 2, 7, 16, 29}))
def test_any_size_comes_back(odd, size):
    net = ConvNet(filters=(2, 2, 2), odd=odd)
    assert shapes(Vanilla(network=net, latent_dim=3), (size, 30 - size, 2))[1] == (
        size,
        30 - size,
        2,
    )


@pytest.mark.parametrize("kernel", [3, 4, 5])
@pytest.mark.parametrize("size", sizes(range(8, 24), {8, 11, 23}))
def test_any_size_comes_back_rounding_down(kernel, size):
    net = ConvNet(filters=(2, 2, 2), odd="floor", up="transpose", kernel=kernel)
    assert shapes(Vanilla(network=net, latent_dim=3), (size, 31 - size))[1] == (size, 31 - size)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"filters": ()}, "filters"),
        ({"filters": (3, 0)}, "filters"),
        ({"kernel": 0}, "kernel=0"),
        ({"bottleneck": 0}, "bottleneck=0"),
        ({"odd": "floor"}, "odd='floor'"),
        ({"odd": "valid", "up": "transpose"}, "odd='valid'"),
        ({"down": "poll"}, "did you mean 'pool'"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        ConvNet(**options)


def test_too_small_to_round_down():
    net = ConvNet(filters=(2, 2, 2), odd="floor", up="transpose")
    with pytest.raises(ValueError, match=r"\(7, 9\): too small"):
        Convolutional(network=net).build((7, 9))


FAST = {("crop", "relu"), ("crop", "gelu"), ("crop", "sigmoid"), ("floor", "relu")}
ALL = [(odd, name) for odd in ("crop", "floor") for name in get_args(Activation)]


@pytest.mark.parametrize(
    ("odd", "name"), [p if p in FAST else pytest.param(*p, marks=pytest.mark.slow) for p in ALL]
)
def test_levels_are_pooled_after_their_activation(odd, name, numpy_state):
    """Whether that, or the maximum of what goes into it, is what is computed."""
    net = ConvNet(filters=(2, 5), odd=odd, up="transpose", activation=name)
    ae = Vanilla(network=net, latent_dim=None, loss="mse").build((9, 10, 1))
    state = numpy_state(ae, optax.sgd(0.1))
    x = np.random.default_rng(0).normal(size=(3, 9, 10, 1)).astype(np.float32)
    bias = jnp.linspace(-0.5, 0.5, 5)

    def with_bias(params):
        layers = params["encoder"]
        return {"encoder": layers | {"Conv_1": layers["Conv_1"] | {"bias": bias}}}

    def reference(params):
        h = x
        for layer in ("Conv_0", "Conv_1"):
            weights = params["encoder"][layer]
            h = activation(name)(conv(h, weights["kernel"]) + weights["bias"])
            h = max_pool(h, padding="VALID" if odd == "floor" else "SAME")
        return h

    params = with_bias(state.params)

    def encode(p):
        return ae.encode({"params": {**state.params, **p}}, x)

    def norm(fn, params):
        z = fn(params)
        return jnp.square(z).sum(), z

    @jax.jit
    def both(params):
        grad = partial(jax.grad, has_aux=True, argnums=1)
        return grad(norm)(encode, params), grad(norm)(reference, params)

    (got, z), (want, expected) = both(params)
    np.testing.assert_allclose(z, expected, atol=1e-6)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5), got, want)


@pytest.mark.parametrize("name", get_args(Activation))
def test_increasing_activations_are_those(name):
    made = activation(name)(jnp.linspace(-8, 8, 2_001))
    assert bool((jnp.diff(made) >= -1e-6).all()) == (name in INCREASING)


@pytest.mark.slow
def test_rematerialization_holds_less_and_computes_the_same(numpy_state):
    saved, moved = [], []
    for remat in (False, True):
        network = ConvNet(filters=(4, 4), convs=3, up="transpose", remat=remat)
        ae = Vanilla(network=network, latent_dim=None).build((9, 9, 3))
        state = numpy_state(ae, optax.sgd(0.1))

        def loss(params, x, ae=ae):
            return jnp.square(ae.reconstruct({"params": params}, x)).sum()

        x = jnp.asarray(np.random.default_rng(0).random((5, 9, 9, 3)), jnp.float32)
        _, pullback = jax.vjp(loss, state.params, x)
        saved.append(sum(leaf.nbytes for leaf in jax.tree.leaves(pullback)))
        moved.append(jax.jit(jax.grad(loss))(state.params, x))
    assert saved[1] < 0.5 * saved[0]
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5), *moved)
