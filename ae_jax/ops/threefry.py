"""Random numbers as a function of a key and a counter: Threefry-2x32 with 20 rounds.

It is the generator of `jax.random`, for programs that draw many numbers by their coordinates. Both
words of a result can be used, and the rounds are unrolled, so XLA fuses them with what reads them;
in `jax.random` on a CPU each round is a pass over memory.

Source: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011.
"""

import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike

Pair = tuple[Array, Array]
_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))


def key_of(seed: ArrayLike) -> Pair:
    """The key of a seed 0 .. 2^32 - 1: that of ``jax.random.key(seed)``."""
    return jnp.uint32(0), jnp.asarray(seed, jnp.uint32)


def threefry(key: tuple[ArrayLike, ArrayLike], counter: tuple[ArrayLike, ArrayLike]) -> Pair:
    """Two random words of uint32 for each key and counter.

    The four arrays are broadcast to one shape, which is that of both results. All are taken as
    uint32. Different counters give independent words; so do different keys.
    """
    first, second = (jnp.asarray(half).astype(jnp.uint32) for half in key)
    keys = (first, second, first ^ second ^ jnp.uint32(0x1BD11BDA))
    a, b = (jnp.asarray(half).astype(jnp.uint32) for half in counter)
    a, b = a + keys[0], b + keys[1]
    for block in range(5):
        for rotation in _ROTATIONS[block % 2]:
            a = a + b
            b = a ^ ((b << rotation) | (b >> (32 - rotation)))
        a, b = a + keys[(block + 1) % 3], b + keys[(block + 2) % 3] + jnp.uint32(block + 1)
    return a, b


def uniform(word: Array) -> Array:
    """A word as a float32 in (0, 1): the middle of one of 2^23 equal intervals."""
    return (word >> 9).astype(jnp.float32) * jnp.float32(2**-23) + jnp.float32(2**-24)


def normal(word: Array) -> Array:
    """A word as a standard normal float32, by the inverse of the distribution function."""
    return jnp.float32(2**0.5) * lax.erf_inv(2 * uniform(word) - 1)
