"""Layers against their Flax namesakes: the same parameters, the same function."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ae_jax.networks import layers

KEY = jax.random.key(0)
X = jax.random.normal(jax.random.key(1), (2, 5, 6, 3))
SHAPE = jax.ShapeDtypeStruct(X.shape, X.dtype)

PAIRS = {
    "conv": (layers.Conv(4, (3, 3)), nn.Conv(4, (3, 3))),
    "strided, valid": (
        layers.Conv(4, (3, 2), strides=2, padding="VALID"),
        nn.Conv(4, (3, 2), strides=2, padding="VALID"),
    ),
    "no bias": (layers.Conv(4, (3, 3), use_bias=False), nn.Conv(4, (3, 3), use_bias=False)),
    "transposed": (
        layers.ConvTranspose(4, (3, 3), strides=(2, 2)),
        nn.ConvTranspose(4, (3, 3), strides=(2, 2)),
    ),
    "transposed, valid": (
        layers.ConvTranspose(4, (2, 2), strides=(2, 1), padding="VALID"),
        nn.ConvTranspose(4, (2, 2), strides=(2, 1), padding="VALID"),
    ),
    "bfloat16": (
        layers.Conv(4, (1, 1), dtype=jnp.bfloat16),
        nn.Conv(4, (1, 1), dtype=jnp.bfloat16),
    ),
    "initializers": (
        layers.Conv(
            4, (3, 3), kernel_init=nn.initializers.he_normal(), bias_init=nn.initializers.ones
        ),
        nn.Conv(4, (3, 3), kernel_init=nn.initializers.he_normal(), bias_init=nn.initializers.ones),
    ),
}


@pytest.mark.parametrize(("ours", "flax"), PAIRS.values(), ids=PAIRS.keys())
def test_same_parameters_and_same_function_as_flax(ours, flax):
    variables = ours.lazy_init(KEY, SHAPE)
    jax.tree.map(np.testing.assert_array_equal, variables, flax.lazy_init(KEY, SHAPE))
    got, want = (jax.jit(layer.apply)(variables, X) for layer in (ours, flax))
    assert got.dtype == want.dtype
    np.testing.assert_allclose(np.float32(got), np.float32(want), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
def test_upsample_conv_is_conv_after_upsample(padding):
    ours, flax = (
        layers.UpsampleConv(4, (3, 3), padding=padding),
        nn.Conv(4, (3, 3), padding=padding),
    )
    variables = ours.lazy_init(KEY, SHAPE)
    jax.tree.map(np.testing.assert_array_equal, variables, flax.lazy_init(KEY, SHAPE))
    got, want = (
        jax.jit(ours.apply)(variables, X),
        jax.jit(flax.apply)(variables, layers.upsample(X)),
    )
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


def test_parameters_stay_float32_when_the_computation_is_bfloat16():
    layer = layers.UpsampleConv(4, dtype=jnp.bfloat16)
    y, variables = jax.jit(layer.init_with_output)(KEY, X)
    assert y.dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
