"""Convolutions against their definition in float64 NumPy, and against `jax.lax` and Flax."""

import itertools
import random
import re
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import AxisType, PartitionSpec
from jax.test_util import check_grads

from ae_jax.devices.mesh import data_mesh, replicated, split
from ae_jax.ops import convolution, cpu_convolution
from ae_jax.ops.convolution import (
    conv,
    conv_transpose,
    max_pool,
    pooled_conv,
    upsample,
    upsample_conv,
)

TOLERANCE = {"rtol": 1e-4, "atol": 1e-4}
SIZES = [(1, 1), (2, 3), (4, 4), (5, 9), (6, 1), (7, 8)]
CHANNELS = [1, 3, 8]
TAPS = [1, 2, 3, 5]
FEATURES = [1, 4, 12]  # few are computed in another way


def sample(count, *choices):
    """Some of all combinations, the same ones every time."""
    return random.Random(0).sample(list(itertools.product(*choices)), count)


def few(count, *choices):
    """As `sample`; only the first two are in the fast group."""
    slow = [pytest.param(*each, marks=pytest.mark.slow) for each in sample(count, *choices)[2:]]
    return [*sample(count, *choices)[:2], *slow]


def inputs(size, channels, taps, features=4, batch=2):
    rng = np.random.default_rng([*size, channels, taps])
    x = rng.normal(size=(batch, *size, channels)).astype(np.float32)
    kernel = rng.normal(size=(taps, taps, channels, features)).astype(np.float32)
    return x, kernel


def value_and_gradients(fn, x, kernel):
    """The value, and the gradients of its inner product with a fixed array, which is returned."""
    shape = jax.eval_shape(fn, x, kernel).shape
    dy = np.random.default_rng(1).normal(size=shape).astype(np.float32)

    @jax.jit
    def run(x, kernel):
        y, pullback = jax.vjp(fn, x, kernel)
        return y, *pullback(jnp.asarray(dy, y.dtype))

    return *run(x, kernel), dy


def assert_same(fn, reference, x, kernel):
    got, want = value_and_gradients(fn, x, kernel), value_and_gradients(reference, x, kernel)
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a, b, **TOLERANCE)


def definition(x, kernel, dy, strides, pads):
    """``y[o] = sum_t k[t] x[stride o + t - low]`` and its gradients, in float64."""
    x = np.pad(x.astype(np.float64), ((0, 0), *pads, (0, 0)))
    (kh, kw), (sh, sw), (_, rows, cols, _) = kernel.shape[:2], strides, dy.shape
    y, dx, dkernel = np.zeros(dy.shape), np.zeros(x.shape), np.zeros(kernel.shape)
    for i, j in np.ndindex(kh, kw):
        at = np.s_[:, i : i + (rows - 1) * sh + 1 : sh, j : j + (cols - 1) * sw + 1 : sw]
        y += x[at] @ kernel[i, j]
        dx[at] += dy @ kernel[i, j].T
        dkernel[i, j] = np.einsum("bhwc,bhwf->cf", x[at], dy)
    (top, bottom), (left, right) = pads
    return y, dx[:, top : x.shape[1] - bottom, left : x.shape[2] - right], dkernel


@pytest.mark.parametrize("platform", ["cpu", "other"])
@pytest.mark.parametrize(
    ("size", "channels", "features", "taps", "strides", "padding"),
    [
        ((9, 8), 1, 4, 3, (1, 1), "SAME"),
        ((7, 7), 3, 4, 2, (1, 1), "VALID"),
        ((8, 8), 8, 4, 3, (1, 1), "VALID"),
        ((8, 8), 8, 8, 3, (1, 1), "SAME"),
        ((8, 8), 8, 12, 3, (1, 1), "VALID"),
        *few(12, SIZES, CHANNELS, FEATURES, TAPS, [(1, 1), (2, 2), (2, 1)], ["SAME", "VALID"]),
    ],
)
def test_conv_is_its_definition(platform, size, channels, features, taps, strides, padding):
    size = size if padding == "SAME" else (max(size[0], taps), max(size[1], taps))
    x, kernel = inputs(size, channels, taps, features)
    pads = lax.padtype_to_pads(size, (taps, taps), strides, padding)

    def fn(x, kernel):
        if platform == "cpu":
            return conv(x, kernel, strides=strides, padding=padding)
        return convolution.lax_conv(x, kernel, strides, tuple(pads))

    *got, dy = value_and_gradients(fn, x, kernel)
    for a, b in zip(got, definition(x, kernel, dy, strides, pads), strict=True):
        np.testing.assert_allclose(a, b, **TOLERANCE)


@pytest.mark.parametrize("platform", ["cpu", "other"])
@pytest.mark.parametrize(
    ("size", "channels", "taps", "stride", "padding"),
    few(8, SIZES, CHANNELS, TAPS, [1, 2, 3], ["SAME", "VALID"]),
)
def test_conv_transpose_is_that_of_lax(
    monkeypatch, platform, size, channels, taps, stride, padding
):
    if platform == "other":
        monkeypatch.setattr(convolution, "_stretch_conv", convolution.lax_stretch_conv)
    x, kernel = inputs(size, channels, taps)
    assert_same(
        lambda x, kernel: conv_transpose(x, kernel, strides=stride, padding=padding),
        lambda x, kernel: lax.conv_transpose(x, kernel, (stride, stride), padding),
        x,
        kernel,
    )


@pytest.mark.parametrize("platform", ["cpu", "other"])
@pytest.mark.parametrize(
    ("size", "channels", "features", "taps", "padding"),
    [
        ((4, 4), 8, 4, 3, "VALID"),
        ((4, 5), 8, 1, 3, "SAME"),
        *few(5, SIZES, CHANNELS, FEATURES, TAPS, ["SAME", "VALID"]),
    ],
)
def test_upsample_conv_is_conv_of_upsample(
    monkeypatch, platform, size, channels, features, taps, padding
):
    if platform == "other":
        monkeypatch.setattr(convolution, "_stretch_conv", convolution.lax_stretch_conv)
    size = size if padding == "SAME" else (max(size[0], 3), max(size[1], 3))
    x, kernel = inputs(size, channels, taps, features)
    assert_same(
        lambda x, kernel: upsample_conv(x, kernel, padding=padding),
        lambda x, kernel: conv(upsample(x), kernel, padding=padding),
        x,
        kernel,
    )


@pytest.mark.parametrize(
    ("size", "channels", "taps", "stride", "padding"),
    [
        ((4, 5), 128, 3, 2, "SAME"),
        *few(6, SIZES, [4, 8], TAPS, [1, 2, 3], ["SAME", "VALID"]),
    ],
)
def test_phases_that_are_convolutions_of_their_own_are_the_same(
    monkeypatch, size, channels, taps, stride, padding
):
    monkeypatch.setattr(cpu_convolution, "SEPARATE", min(channels, cpu_convolution.SEPARATE))
    size = (max(size[0], 3), max(size[1], 3))
    x, kernel = inputs(size, channels, taps)
    x /= channels
    assert_same(
        lambda x, kernel: conv_transpose(x, kernel, strides=stride, padding=padding),
        lambda x, kernel: lax.conv_transpose(x, kernel, (stride, stride), padding),
        x,
        kernel,
    )
    assert_same(
        lambda x, kernel: upsample_conv(x, kernel, padding=padding),
        lambda x, kernel: conv(upsample(x), kernel, padding=padding),
        x,
        kernel,
    )


@pytest.mark.parametrize(("size", "taps", "stride"), [((5, 4), 3, 2), ((4, 4), 2, 2)])
@pytest.mark.parametrize("padding", ["SAME", "VALID"])
def test_conv_transpose_is_the_adjoint_of_conv(size, taps, stride, padding):
    """With its kernel flipped and its channels swapped, as Keras' Conv2DTranspose stores it."""
    y, kernel = inputs(size, 3, taps)
    swapped = kernel[::-1, ::-1].transpose(0, 1, 3, 2)
    image = conv_transpose(y, kernel, strides=stride, padding=padding)
    x = np.random.default_rng(2).normal(size=image.shape).astype(np.float32)
    forward = conv(x, swapped, strides=stride, padding=padding)
    np.testing.assert_allclose(np.vdot(image, x), np.vdot(y, forward), rtol=1e-4)


@pytest.mark.parametrize("order", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_derivatives_of_both_modes_are_finite_differences(order):
    x, kernel = inputs((4, 5), 3, 3, features=3, batch=1)

    def smooth(x, kernel):
        if order == 2:
            return jnp.tanh(0.2 * conv(x, kernel, strides=2)).mean()
        return jnp.tanh(0.02 * everything(x, kernel))

    check_grads(
        jax.jit(smooth), (x, kernel), order=order, modes=["fwd", "rev"], rtol=1e-2, atol=1e-2
    )


@pytest.mark.parametrize(
    ("channels", "features", "strides"),
    [(3, 2, 2), (5, 2, 1), (5, 7, 1)],
    ids=["patches", "spread", "loop"],
)
def test_jacobians_of_both_modes_agree(channels, features, strides):
    x, kernel = inputs((3, 4), channels, 2, features, batch=1)
    fn = partial(conv, strides=strides)
    for argument in (0, 1):
        forward, reverse = (jax.jit(jac(fn, argument)) for jac in (jax.jacfwd, jax.jacrev))
        np.testing.assert_allclose(forward(x, kernel), reverse(x, kernel), **TOLERANCE)


def everything(x, kernel):
    """One of each form, one after the other, to a scalar."""
    h = conv(x[..., :1], kernel[:, :, :1])
    h = max_pool(conv(h, kernel) + conv_transpose(h, kernel, strides=1))
    h = upsample_conv(h, kernel) + conv_transpose(h, kernel)
    return jnp.square(conv(h, kernel, strides=2)).mean()


@pytest.mark.slow
def test_the_same_in_every_transformation():
    x, kernel = inputs((5, 4), 4, 3)
    kernel *= 0.2
    value_and_grad = jax.value_and_grad(everything, argnums=(0, 1))
    want = jax.jit(value_and_grad)(x, kernel)

    def scanned(x, kernel):
        return lax.scan(lambda c, _: (c, value_and_grad(x, kernel)), None, length=2)[1]

    stacked = (np.stack([x, x]), np.stack([kernel, kernel]))
    mesh = jax.make_mesh((1,), ("data",), axis_types=(AxisType.Auto,))
    everywhere, split = PartitionSpec(), PartitionSpec("data")

    def shard(x, kernel):
        kernel = lax.pcast(kernel, "data", to="varying")
        value, grads = value_and_grad(x, kernel)
        return lax.pmean(value, "data"), (grads[0], lax.pmean(grads[1], "data"))

    sharded = jax.shard_map(
        shard,
        mesh=mesh,
        in_specs=(split, everywhere),
        out_specs=(everywhere, (split, everywhere)),
    )
    results = {
        "scan": jax.tree.map(lambda a: a[1], jax.jit(scanned)(x, kernel)),
        "vmap": jax.tree.map(lambda a: a[1], jax.jit(jax.vmap(value_and_grad))(*stacked)),
        "pmap": jax.tree.map(lambda a: a[0], jax.pmap(value_and_grad)(x[None], kernel[None])),
        "shard_map": jax.jit(sharded)(x, kernel),
    }
    for name, got in results.items():
        for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5, err_msg=name)


def test_the_same_in_eager_mode():
    x, kernel = inputs((3, 4), 3, 2)
    for fn in (conv, upsample_conv):
        np.testing.assert_allclose(fn(x, kernel), jax.jit(fn)(x, kernel), **TOLERANCE)


@pytest.mark.parametrize("channels", [1, 3, 4, 128])
def test_a_batch_of_any_size_can_be_traced(channels):
    """As `ae_jax.storage.export` does."""
    (batch,) = jax.export.symbolic_shape("batch")
    x = jax.ShapeDtypeStruct((batch, 8, 6, channels), jnp.float32)
    kernel = jax.ShapeDtypeStruct((3, 3, channels, 2), jnp.float32)
    assert jax.eval_shape(conv, x, kernel).shape == (batch, 8, 6, 2)
    assert jax.eval_shape(pooled_conv, x, kernel).shape == (batch, 4, 3, 2)
    for fn in (partial(conv_transpose, strides=2), upsample_conv):
        assert jax.eval_shape(fn, x, kernel).shape == (batch, 16, 12, 2)


def test_bfloat16_stays_bfloat16_and_close():
    x, kernel = inputs((5, 4), 4, 3)
    for fn in (conv, conv_transpose, upsample_conv):
        x16, kernel16 = jnp.bfloat16(x), jnp.bfloat16(kernel)
        *got, _ = value_and_gradients(fn, x16, kernel16)
        *want, _ = value_and_gradients(fn, np.float32(x16), np.float32(kernel16))
        for a, b in zip(got, want, strict=True):
            assert a.dtype == jnp.bfloat16
            np.testing.assert_allclose(np.float32(a), b, rtol=0.05, atol=0.02 * np.abs(b).max())


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize(
    ("channels", "features", "taps", "strides"),
    [(16, 20, 3, 1), (16, 20, 2, 1), (20, 16, 3, 1), (16, 20, 3, 2)],
    ids=["swapped", "swapped, even", "not swapped", "strided"],
)
def test_gradients_in_bfloat16(channels, features, taps, strides, padding):
    x, kernel = (jnp.bfloat16(a) for a in inputs((7, 6), channels, taps, features))
    fn = partial(conv, strides=strides, padding=padding)
    *got, _ = value_and_gradients(fn, x, kernel)
    *want, _ = value_and_gradients(fn, np.float32(x), np.float32(kernel))
    for a, b in zip(got, want, strict=True):
        assert a.dtype == jnp.bfloat16
        np.testing.assert_allclose(np.float32(a), b, rtol=0.02, atol=0.01 * np.abs(b).max())


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="about programs for the CPU")
def test_a_loop_on_the_cpu_holds_only_convolutions_the_fast_routine_takes():
    x, kernel = inputs((9, 10), 4, 3)
    grad = jax.grad(everything, argnums=(0, 1))
    steps = jax.jit(lambda x, k: lax.scan(lambda c, _: (grad(*c), None), (x, k), length=3))
    program = steps.lower(x, kernel).compile().as_text()
    layouts = re.findall(r" convolution\(.*dim_labels=(\S+?)[,\s]", program)
    assert layouts
    assert set(layouts) == {"b01f_01io->b01f"}


@pytest.mark.parametrize("window", [(2, 2), (3, 1), (3, 3)])
@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize("size", [(3, 4), (7, 6)])
def test_max_pool_and_its_gradient_are_those_of_flax(size, window, padding):
    x, _ = inputs(size, 3, 2)

    def value_and_grad(pool):
        y, pullback = jax.vjp(pool, x)
        return y, pullback(jnp.cos(jnp.arange(y.size)).reshape(y.shape))[0]

    got = jax.jit(value_and_grad, static_argnums=0)(
        lambda x: max_pool(x, window, strides=2, padding=padding)
    )
    want = jax.jit(value_and_grad, static_argnums=0)(
        lambda x: nn.max_pool(x, window, (2, 2), padding)
    )
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("platform", ["cpu", "other"])
@pytest.mark.parametrize(
    ("size", "channels", "strides", "padding", "pool"),
    [
        ((8, 6), 1, 1, "SAME", "SAME"),
        ((8, 6), 3, 1, "SAME", "VALID"),
        ((8, 6), 8, 1, "SAME", "SAME"),
        *few(6, [(5, 6), (9, 8)], CHANNELS, [1, 2], ["SAME", "VALID"], ["SAME", "VALID"]),
    ],
)
def test_pooled_conv_is_max_pool_of_conv(
    monkeypatch, platform, size, channels, strides, padding, pool
):
    if platform == "other":
        choose = lambda *args, cpu, default: default(*args)  # noqa: E731
        monkeypatch.setattr(convolution.lax, "platform_dependent", choose)
    x, kernel = inputs(size, channels, 3, features=5)
    pads = lax.padtype_to_pads(size, (3, 3), (strides, strides), padding)

    def reference(x, kernel):
        y = convolution.lax_conv(x, kernel, (strides, strides), tuple(pads))
        return nn.max_pool(y, (2, 2), (2, 2), pool)

    fn = partial(pooled_conv, strides=strides, padding=padding, pool=pool)
    assert_same(fn, reference, x, kernel)
    both = jax.jit(lambda *a: [jax.jvp(each, a, a)[1] for each in (fn, reference)])
    np.testing.assert_allclose(*both(x, kernel), **TOLERANCE)


def test_pixels_that_tie_share_the_gradient_of_max_pool():
    grad = jax.jit(jax.grad(lambda x: max_pool(x).sum()))(jnp.ones((1, 3, 4, 2)))
    np.testing.assert_allclose(grad.sum(), 2 * 2 * 2)
    assert grad.min() > 0
    kernel = jnp.ones((1, 1, 1, 1))
    grad = jax.jit(jax.grad(lambda x: pooled_conv(x, kernel).sum()))(jnp.ones((1, 2, 2, 1)))
    np.testing.assert_allclose(grad, np.full((1, 2, 2, 1), 0.25))


def test_upsample_repeats_pixels():
    x = np.arange(12.0).reshape(1, 2, 3, 2)
    for factor in (1, 2, 3):
        np.testing.assert_array_equal(upsample(x, factor), x.repeat(factor, 1).repeat(factor, 2))


@pytest.mark.parametrize("fn", [conv, conv_transpose, upsample_conv])
def test_bad_input_is_one_clear_line(fn):
    x, kernel = inputs((4, 4), 3, 3)
    with pytest.raises(ValueError, match=r"\(2, 4, 4\) and kernel \(3, 3, 3, 4\)"):
        fn(x[..., 0], kernel)
    with pytest.raises(ValueError, match="do not fit"):
        fn(x[..., :2], kernel)
    with pytest.raises(ValueError, match="padding='same'"):
        fn(x, kernel, padding="same")
    with pytest.raises(TypeError, match="bfloat16 and kernel float32"):
        fn(jnp.bfloat16(x), kernel)
    with pytest.raises(TypeError, match="int32"):
        fn(np.int32(x), np.int32(kernel))


def test_impossible_windows_are_one_clear_line():
    x, kernel = inputs((2, 4), 3, 3)
    with pytest.raises(ValueError, match="2x4 is smaller than the window 3x3"):
        conv(x, kernel, padding="VALID")
    with pytest.raises(ValueError, match="2x4 is smaller than the window 3x3"):
        max_pool(x, 3, padding="VALID")
    with pytest.raises(ValueError, match="strides=0"):
        conv(x, kernel, strides=0)
    with pytest.raises(ValueError, match="window=-1"):
        max_pool(x, -1)
    with pytest.raises(ValueError, match=r"strides=\(1, 2, 3\)"):
        conv_transpose(x, kernel, strides=(1, 2, 3))
    with pytest.raises(ValueError, match="factor=0"):
        upsample(x, 0)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize(("padding", "strides"), [("SAME", 1), ("VALID", 1), ("SAME", 2)])
def test_large_batches_of_many_channels(padding, strides, dtype):
    x, kernel = inputs((5, 6), 17, 3, features=16, batch=48)
    reference = partial(
        lax.conv_general_dilated,
        window_strides=(strides, strides),
        padding=padding,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    ours = partial(conv, padding=padding, strides=strides)
    *want, _ = value_and_gradients(reference, x, kernel)
    *got, _ = value_and_gradients(ours, *(jnp.asarray(a, dtype) for a in (x, kernel)))
    bound = 1e-5 if dtype == jnp.float32 else 0.02
    for a, b in zip(got, want, strict=True):
        assert a.dtype == dtype
        np.testing.assert_allclose(np.float32(a), b, atol=bound * np.abs(b).max())


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="about programs for the CPU")
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_the_gradient_of_a_kernel_does_not_make_its_images_again(dtype):
    x, kernel = (jnp.asarray(a, dtype) for a in inputs((5, 6), 16, 3, features=16, batch=64))

    @jax.jit
    def grad(kernel, x):
        return jax.grad(lambda kernel: jnp.square(conv(jax.nn.relu(x), kernel)).sum())(kernel)

    # If XLA no longer leaves it a call, the transpose of the images may be fused with the ReLU.
    assert re.search(r" call\(.*_channels_first", grad.lower(kernel, x).compile().as_text())


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="about programs for the CPU")
def test_devices_add_up_the_gradient_of_a_kernel_once(loops_that_sum_over_devices):
    x, kernel = inputs((5, 6), 16, 3, features=16, batch=64)
    grad = jax.jit(jax.grad(lambda x, kernel: jnp.square(conv(x, kernel)).sum(), 1))
    mesh = data_mesh(2)
    placed = (jax.device_put(x, split(mesh)), jax.device_put(kernel, replicated(mesh)))
    program = grad.lower(*placed).compile()
    assert "all-reduce(" in program.as_text()
    assert loops_that_sum_over_devices(program) == []
    np.testing.assert_allclose(program(*placed), grad(x, kernel), rtol=1e-4, atol=1e-2)
