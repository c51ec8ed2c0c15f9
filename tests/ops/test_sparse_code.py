"""Sparse codes and their products equal dense ones, in values and gradients."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from ae_jax.devices.mesh import MODEL, data_mesh, replicated, split
from ae_jax.ops import sparse_code

ROWS, DIM, WIDTH, K = 6, 5, 12, 3
SIZES = (2, 7, 12)


@pytest.fixture(scope="module")
def arrays():
    rng = np.random.default_rng(0)
    shapes = [(ROWS, DIM), (WIDTH, DIM), (WIDTH,), (WIDTH, DIM)]
    return [jnp.float32(rng.normal(size=shape)) for shape in shapes]


def loss(x, encoder, bias, decoder, weights):
    """Reads the values, a reconstruction and reconstructions of prefixes."""
    values, indices = sparse_code.encode_top_k(x, encoder, bias, None, K)
    recon = sparse_code.decode(values, indices, decoder)
    prefixes = sparse_code.decode_prefixes(values, indices, decoder, jnp.array(SIZES))
    return (
        jnp.square(recon - x).sum()
        + (weights[: len(SIZES), None, None] * jnp.square(prefixes - x)).sum()
        + jnp.sin(values).sum()
    )


def dense_loss(x, encoder, bias, decoder, weights):
    pre = jax.nn.relu(x @ encoder.T + bias)
    least = lax.top_k(lax.stop_gradient(pre), K)[0][:, -1:]
    z = jnp.where(pre >= least, pre, 0.0)
    prefixes = jnp.stack([z[:, :size] @ decoder[:size] for size in SIZES])
    return (
        jnp.square(z @ decoder - x).sum()
        + (weights[: len(SIZES), None, None] * jnp.square(prefixes - x)).sum()
        + jnp.sin(z).sum()
    )


def test_the_sparse_step_equals_the_dense_one(arrays):
    weights = jnp.array([0.5, 2.0, 1.0])
    got = jax.jit(jax.value_and_grad(loss, (0, 1, 2, 3)))(*arrays, weights)
    want = jax.value_and_grad(dense_loss, (0, 1, 2, 3))(*arrays, weights)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), got, want)


def test_selection_can_weigh_latents(arrays):
    x, encoder, bias, _ = arrays
    scale = jnp.float32(np.random.default_rng(1).uniform(0.1, 3.0, WIDTH))
    values, indices = sparse_code.encode_top_k(x, encoder, bias, scale, K)
    pre = np.asarray(x @ encoder.T + bias)
    for row in range(ROWS):
        order = np.argsort(-pre[row] * np.asarray(scale))[:K]
        assert set(order) == set(np.asarray(indices[row]))
        np.testing.assert_allclose(
            values[row], np.maximum(pre[row][np.asarray(indices[row])], 0), rtol=1e-5
        )


def test_of_equal_numbers_the_first_are_taken():
    values, indices = sparse_code.top_k(jnp.array([[1.0, 3.0, 1.0, 3.0, 1.0]]), 4)
    assert indices.tolist() == [[1, 3, 0, 2]] and values.tolist() == [[3.0, 3.0, 1.0, 1.0]]


def test_approximate_selection_finds_the_largest_of_few(arrays):
    x = arrays[0] @ arrays[1].T
    exact, approximate = (sparse_code.top_k(x, K, how)[0] for how in ("exact", "approximate"))
    np.testing.assert_array_equal(exact, approximate)  # on a CPU it is exact


def test_a_dense_code_adds_repeated_latents():
    z = sparse_code.dense_code(jnp.array([[1.0, 2.0, 4.0]]), jnp.array([[3, 0, 3]]), 5)
    assert z.tolist() == [[2.0, 0.0, 0.0, 5.0, 0.0]]
    decoder = jnp.eye(5)
    recon = sparse_code.decode(jnp.array([[1.0, 2.0, 4.0]]), jnp.array([[3, 0, 3]]), decoder)
    assert recon.tolist() == z.tolist()


def test_vmap_equals_a_loop(arrays):
    x, encoder, bias, decoder = arrays
    encoders = jnp.stack([encoder, 2 * encoder])
    grad = jax.grad(lambda e: loss(x, e, bias, decoder, jnp.ones(3)))
    for got, e in zip(jax.jit(jax.vmap(grad))(encoders), encoders, strict=True):
        np.testing.assert_allclose(got, grad(e), rtol=1e-4, atol=1e-5)


def shared(mesh, arrays):
    """Arrays of `loss` on a mesh: rows split by ``data``, latents by ``model``."""
    latents = split(mesh, over=MODEL)
    places = [split(mesh), latents, latents, latents, replicated(mesh)]
    return [jax.device_put(array, place) for array, place in zip(arrays, places, strict=True)]


GRADIENTS = jax.jit(jax.value_and_grad(loss, (0, 1, 2, 3)))


@pytest.mark.parametrize("model_devices", [2, 4])
def test_devices_that_share_the_latents_equal_one(model_devices, arrays):
    arrays = [*arrays, jnp.array([0.5, 2.0, 1.0])]
    got = GRADIENTS(*shared(data_mesh(4, model_devices), arrays))
    want = GRADIENTS(*arrays)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), got, want)
    assert got[1][1].sharding.shard_shape((WIDTH, DIM)) == (WIDTH // model_devices, DIM)


def test_devices_exchange_candidates_and_gradients_and_neither_tables_nor_activations():
    """Sizes that tell apart 8 rows on each device of 128 latents, of 32 dimensions."""
    shapes = [(16, 32), (256, 32), (256,), (256, 32), (3,)]
    arrays = shared(data_mesh(4, 2), [jnp.ones(shape) for shape in shapes])
    text = GRADIENTS.lower(*arrays).compile().as_text()
    collectives = re.findall(r"= (.*?) ([a-z]+-[a-z]+)(?:-start)?\(.*channel_id", text)
    gathered = {shape for shape, kind in collectives if kind != "all-reduce"}
    summed = "".join(shape for shape, kind in collectives if kind == "all-reduce")
    assert gathered and all(re.match(rf"\(?[fs]32\[8,{2 * K}\]", shape) for shape in gathered)
    assert summed.count("f32[128,32]") == 3  # the encoder's gradient, and two of the decoder
    assert "256" not in summed


@pytest.mark.parametrize("rows", [6, 5], ids=["split", "not split"])
def test_a_selection_of_shared_latents_is_exact_also_where_numbers_are_equal(rows):
    x = jnp.float32(np.random.default_rng(2).integers(0, 4, size=(rows, WIDTH)))
    mesh = data_mesh(4, 2)
    split_x = jax.device_put(x, split(mesh, 1, over=MODEL))
    for k in (1, 5, 8, WIDTH):  # up to more than the 6 of a device
        select = jax.jit(sparse_code.top_k, static_argnums=1)
        jax.tree.map(np.testing.assert_array_equal, select(split_x, k), select(x, k))
        eager = sparse_code.top_k(split_x, k)
        jax.tree.map(np.testing.assert_array_equal, eager, tuple(lax.top_k(x, k)))
    indices = jax.device_put(select(x, 3)[1], replicated(mesh))
    z = sparse_code.dense_code(jnp.ones((rows, 3)), indices, WIDTH)
    np.testing.assert_array_equal(z.sum(1), 3.0)
    got = jax.grad(lambda x: jnp.sin(sparse_code.at_indices(x, indices)).sum())(split_x)
    np.testing.assert_allclose(got, np.where(z, np.cos(x), 0), rtol=1e-5)


def test_many_rows_of_one_latent_are_summed_in_float32():
    """In bfloat16 a sum stops to grow at 256 times one of its parts."""
    rows, half = 1024, jnp.bfloat16
    x, table, bias = jnp.ones((rows, 2), half), jnp.ones((3, 2), half), jnp.zeros(3, half)

    def total(encoder, bias, decoder):
        values, indices = sparse_code.encode_top_k(x, encoder, bias, None, 1)
        return sparse_code.decode(values, indices, decoder).sum(dtype=jnp.float32)

    of_encoder, of_bias, of_decoder = jax.grad(total, (0, 1, 2))(table, bias, table)
    assert of_bias[0] == 2 * rows and of_bias.dtype == half
    assert (of_encoder[0] == 2 * rows).all() and (of_decoder[0] == 2 * rows).all()
