"""The words are those of jax.random, and the numbers made from them have their distributions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend.random import threefry_2x32
from scipy import stats

from ae_jax.ops.threefry import key_of, normal, threefry, uniform


@pytest.mark.parametrize("seed", [0, 42, 2**32 - 1])
def test_it_is_the_generator_of_jax(seed):
    key = jax.random.key_data(jax.random.key(seed, impl="threefry2x32"))
    np.testing.assert_array_equal(jnp.stack(key_of(seed)), key)
    counters = jnp.array([0, 1, 7, 2**31, 2**32 - 1, 5], jnp.uint32)
    words = jax.jit(threefry)(key_of(seed), (counters[:3], counters[3:]))
    np.testing.assert_array_equal(jnp.concatenate(words), threefry_2x32(key, counters))


def test_known_words():
    """Of the authors' program, `kat_vectors`: threefry2x32, 20 rounds."""
    for key, counter, words in (
        ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
        ((2**32 - 1,) * 2, (2**32 - 1,) * 2, (0x1CB996FC, 0xBB002BE7)),
        ((0x13198A2E, 0x03707344), (0x243F6A88, 0x85A308D3), (0xC4923A9C, 0x483DF7A0)),
    ):
        pairs = [tuple(jnp.uint32(half) for half in pair) for pair in (key, counter)]
        assert tuple(map(int, threefry(*pairs))) == words


def test_keys_and_counters_are_broadcast():
    key = threefry(key_of(1), (jnp.arange(3), 0))
    words = threefry((key[0][:, None], key[1][:, None]), (jnp.arange(4), 9))[1]
    assert words.shape == (3, 4) and words.dtype == jnp.uint32
    one = threefry((key[0][2], key[1][2]), (jnp.uint32(3), 9))[1]
    assert words[2, 3] == one and len(np.unique(words)) == 12


def test_the_ends_of_the_words():
    words = jnp.array([0, 2**32 - 1], jnp.uint32)
    assert uniform(words)[0] > 0 and uniform(words)[1] < 1
    assert np.isfinite(normal(words)).all() and normal(words)[0] == -normal(words)[1]


@pytest.mark.parametrize(("draw", "law"), [(uniform, stats.uniform), (normal, stats.norm)])
@pytest.mark.parametrize("half", [0, 1])
def test_the_distributions(draw, law, half):
    words = threefry(key_of(3), (jnp.arange(20_000), 5))[half]
    assert stats.kstest(np.asarray(draw(words)), law.cdf).pvalue > 1e-4
