"""The order of the examples."""

from collections import Counter
from functools import partial

import jax
import numpy as np
import pytest

from ae_jax.data.memory import shuffled


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
