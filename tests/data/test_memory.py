"""The order of the examples, and their batches."""

from collections import Counter
from functools import partial

import jax
import numpy as np
import pytest

from ae_jax.data.memory import shuffled, take


@pytest.mark.parametrize("count", [1, 2, 3, 255, 256, 257, 65_536, 65_537])
def test_every_example_comes_once(count):
    order = np.asarray(jax.jit(shuffled, static_argnums=1)(jax.random.key(0), count))
    assert order.dtype == np.int32
    np.testing.assert_array_equal(np.sort(order), np.arange(count))


@pytest.mark.parametrize("count", [5, 300, 70_000])
def test_it_is_a_stable_sort_by_random_numbers_of_32_bits(count):
    """Of several rounds, which take as many bits as an index leaves free."""
    key, low = jax.random.key(1), (count - 1).bit_length()
    keys = jax.random.split(key, -(-32 // (32 - low)))
    order = list(range(count))
    for one in keys:
        free = np.asarray(jax.random.bits(one, (count,), "uint32")) & (2 ** (32 - low) - 1)
        order = [order[i] for i in np.argsort(free, kind="stable")]
    np.testing.assert_array_equal(shuffled(key, count), order)
    assert len(keys) * (32 - low) >= 32


def test_every_order_is_as_likely_as_any_other():
    keys = jax.random.split(jax.random.key(2), 24_000)
    orders = np.asarray(jax.jit(jax.vmap(partial(shuffled, count=4)))(keys))
    counts = Counter(map(tuple, orders))
    assert len(counts) == 24
    chi2 = sum((n - 1000) ** 2 / 1000 for n in counts.values())
    assert chi2 < 49.7  # of 23 degrees of freedom: once in a thousand


def test_large_sets_are_shuffled_too():
    key = jax.random.key(0)
    shape = jax.eval_shape(partial(shuffled, count=2**24 + 1), key)
    assert (shape.shape, shape.dtype) == ((2**24 + 1,), np.int32)


@pytest.mark.parametrize("event", [(), (5,), (28, 28, 1), (3, 0, 2)], ids=str)
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_a_batch_is_its_rows(event, dtype):
    rows = np.arange(7 * np.prod(event, dtype=int)).reshape(7, *event).astype(dtype)
    index = np.array([6, 0, 3, 3], np.int32)
    batch = jax.jit(partial(take, padded=False))({"x": rows}, index)
    assert batch.keys() == {"x"} and batch["x"].dtype == dtype
    np.testing.assert_array_equal(batch["x"], rows[index])


def test_what_pads_a_batch_is_masked_as_is_what_the_data_masks():
    data = {"x": np.arange(6.0).reshape(3, 2), "mask": np.array([1.0, 0.0, 1.0], np.float32)}
    index = np.array([2, 1, -1], np.int32)
    batch = take(data, index, padded=True)
    np.testing.assert_array_equal(batch["mask"], [1, 0, 0])
    np.testing.assert_array_equal(batch["x"][:2], data["x"][[2, 1]])
    np.testing.assert_array_equal(take({"x": data["x"]}, index, padded=True)["mask"], [1, 1, 0])
