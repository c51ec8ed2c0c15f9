"""Programs against the functions they are made of, by an interpreter in NumPy, in float64."""

import base64
import json
import zlib
from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ae_jax.models import Convolutional, Hyperspherical, Poincare, Tied, Vanilla, Variational
from ae_jax.networks import MLP, RNN, ConvNet
from ae_jax.networks.activations import Activation, activation
from ae_jax.report.program import MOST_NUMBERS, UnsupportedError, translate

BY_ELEMENT = {
    "div": np.divide,
    "max": np.maximum,
    "min": np.minimum,
    "mul": np.multiply,
    "pow": np.power,
    "sub": np.subtract,
    "neg": np.negative,
    "not": np.logical_not,
    "and": np.logical_and,
    "or": np.logical_or,
    "gt": np.greater,
    "ge": np.greater_equal,
    "lt": np.less,
    "le": np.less_equal,
    "eq": np.equal,
    "ne": np.not_equal,
    "logistic": lambda a: 1 / (1 + np.exp(-a)),
    "rsqrt": lambda a: a**-0.5,
    "select_n": lambda which, no, yes: np.where(which, yes, no),
    "clamp": lambda low, a, high: np.clip(a, low, high),
}


def unpack(packed):
    data = zlib.decompress(base64.b64decode(packed["data"]))
    return np.frombuffer(data, np.dtype(packed["dtype"]).newbyteorder("<"))


def convolve(x, kernel, s):
    """The definition, tap by tap."""
    (height, width, _), (kh, kw, _, filters) = s["input"], s["kernel"]
    x, kernel = x.reshape(s["input"]), kernel.reshape(s["kernel"])
    rows, columns, _ = s["output"]
    out = np.zeros((rows, columns, filters))
    for i, j, ky, kx in np.ndindex(rows, columns, kh, kw):
        y = i * s["strides"][0] - s["low"][0] + ky * s["kernelDilation"][0]
        at = j * s["strides"][1] - s["low"][1] + kx * s["kernelDilation"][1]
        (y, off_y), (at, off_x) = divmod(y, s["dilation"][0]), divmod(at, s["dilation"][1])
        if off_y == off_x == 0 and 0 <= y < height and 0 <= at < width:
            out[i, j] += x[y, at] @ kernel[ky, kx]
    return out.ravel()


def run(program, z):
    program = json.loads(json.dumps(program))
    constants = [unpack(packed) for packed in program["constants"]]
    registers = [np.asarray(z, np.float64).ravel()]
    for name, numbers, settings in program["operations"]:
        inputs = [constants[~i] if i < 0 else registers[i] for i in numbers]
        if name == "take":
            result = np.concatenate(inputs[1:])[inputs[0]]
        elif name == "matmul":
            b, m, k, n = settings["sizes"]
            result = (inputs[0].reshape(b, m, k) @ inputs[1].reshape(b, k, n)).ravel()
        elif name == "conv":
            result = convolve(*inputs, settings)
        else:
            size = max(map(len, inputs))
            fn = BY_ELEMENT.get(name) or getattr(np, name)
            result = np.asarray(fn(*(np.resize(a, size) for a in inputs)), np.float64)
        registers.append(result)
    return registers[program["output"]]


def check(fn, shape, tolerance=1e-5):
    z = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    want = np.asarray(jax.jit(fn)(z)).ravel()
    np.testing.assert_allclose(run(translate(fn, shape), z), want, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
    ("spec", "event", "code"),
    [
        (Variational(network=MLP(widths=(9,)), latent_dim=3), (4, 4, 1), (1, 3)),
        pytest.param(
            Variational(network=ConvNet(filters=(3, 2)), latent_dim=3),
            (8, 8, 1),
            (1, 3),
            marks=pytest.mark.slow,
        ),
        (Tied(network=MLP(widths=(9,)), latent_dim=3), (4, 4), (1, 3)),
        (Convolutional(network=ConvNet(filters=(3, 2), odd="valid")), (7, 9, 3), (1, 2, 3, 2)),
        (
            Convolutional(network=ConvNet(filters=(3, 2), up="transpose", down="stride")),
            (8, 8, 1),
            (1, 2, 2, 2),
        ),
        (Hyperspherical(latent_dim=3), (5,), (1, 3)),
        (Poincare(latent_dim=3, gyroplanes=6), (5,), (1, 3)),
        (Vanilla(network=RNN(widths=(6, 4)), latent_dim=None), (5, 3), (1, 4)),
        (Vanilla(network=RNN(widths=(6, 4), cell="gru"), latent_dim=None), (5, 3), (1, 4)),
    ],
    ids=["vae", "conv-vae", "tied", "conv", "transpose", "sphere", "ball", "lstm", "gru"],
)
def test_decoders_of_every_network(spec, event, code, numpy_state):
    ae = spec.build(event)
    variables = numpy_state(ae, optax.identity()).variables
    check(lambda z: ae.decode(variables, z), code)


@pytest.mark.parametrize("name", get_args(Activation))
def test_activations(name):
    check(activation(name), (1, 7))


@pytest.mark.parametrize(
    "fn",
    [
        lambda z: z[:, ::-2].T,
        lambda z: jnp.pad(z, ((0, 0), (2, 1)), constant_values=3.0) * 2,
        lambda z: jnp.concatenate([z, jnp.ones((1, 2)), z**3], axis=1),
        lambda z: z.reshape(2, 3) + jnp.arange(2.0)[:, None],
        lambda z: jnp.einsum("bi,bj->bij", z, z),
        lambda z: jnp.clip(z, -0.5, 0.5) / (1 + jnp.square(z)),
        lambda z: jnp.where(jnp.abs(z) > 0.5, jnp.sin(z), -jnp.sign(z)),
        lambda z: jax.lax.scan(lambda c, x: (c + x, c * x), jnp.zeros(1), z.T, reverse=True)[1],
        lambda z: jnp.outer(z[0], z[0] + 1).reshape(2, 3, 6).sum((0, 2)),
        lambda z: z * jax.random.normal(jax.random.key(0), (6,)),  # of constants: computed once
    ],
    ids=[
        "slice",
        "pad",
        "concatenate",
        "broadcast",
        "outer",
        "clip",
        "where",
        "scan",
        "sum",
        "constant",
    ],
)
def test_other_operations(fn):
    check(fn, (1, 6))


def test_what_does_not_depend_on_the_code_is_computed_before():
    program = translate(
        lambda z: z @ (jnp.ones((2, 3)) * jnp.exp(2.0)).T.T + 0 * jnp.ones(3), (1, 2)
    )
    assert [name for name, _, _ in program["operations"]] == ["matmul", "add"]


def test_moves_in_a_row_are_one_and_those_that_change_nothing_are_none():
    program = translate(lambda z: 2 * z.reshape(2, 3).T.reshape(6)[::-1], (1, 6))
    assert [name for name, _, _ in program["operations"]] == ["take", "mul"]
    assert translate(lambda z: 2 * z.reshape(3, 2)[None], (6,))["operations"][0][0] == "mul"


@pytest.mark.parametrize(
    ("fn", "message"),
    [
        (jnp.sort, "it uses sort"),
        (lambda z: z.astype(jnp.bfloat16), "it computes .* in bfloat16"),
        (lambda z: jnp.zeros(3), "does not depend on the latents"),
        (lambda z: z @ jnp.ones((2, MOST_NUMBERS)), "and 1 operations, more than the limits"),
        (lambda z: jax.lax.fori_loop(0, 10**6, lambda i, c: c * 1.5 + 1, z), "a loop of 1000000"),
        (lambda z: jax.lax.while_loop(lambda c: c.sum() < 9, lambda c: c + 1, z), "it uses while"),
    ],
    ids=["primitive", "dtype", "constant", "size", "loop", "while"],
)
def test_what_has_no_program_says_why(fn, message):
    with pytest.raises(UnsupportedError, match=message):
        translate(fn, (1, 2))
