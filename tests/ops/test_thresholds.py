"""Thresholds: kernel estimates of gradients, and the n-th largest number of a batch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ae_jax.ops.thresholds import above, jump_relu, nth_largest


def test_the_gradient_of_a_threshold_is_that_of_the_expectation():
    """By finite differences of the mean over many draws: a wide kernel is biased, a narrow one is
    noisy."""
    rng = np.random.default_rng(0)
    pre = rng.normal(1.0, 1.0, size=200_000)
    threshold, bandwidth, step = 0.7, 0.1, 0.05

    def expected(t, of):
        return (of(pre) * (pre > t)).mean()

    for fn, of in ((jump_relu, lambda x: x), (above, np.ones_like)):
        got = jax.grad(lambda t, fn=fn: fn(jnp.float32(pre), t, bandwidth).mean())(
            jnp.float32(threshold)
        )
        ends = [expected(threshold + sign * step, of) for sign in (-1, 1)]
        np.testing.assert_allclose(got, (ends[1] - ends[0]) / (2 * step), rtol=0.02)


def test_gradients_of_inputs_are_those_of_active_latents():
    pre = jnp.array([[0.2, 0.9, -1.0, 2.0]])
    threshold = jnp.full(4, 0.5)
    assert jump_relu(pre, threshold, 0.1).tolist() == [[0.0, pre[0, 1].item(), 0.0, 2.0]]
    of_pre = jax.grad(lambda p: (jump_relu(p, threshold, 0.1) + above(p, threshold, 0.1)).sum())
    assert of_pre(pre).tolist() == [[0.0, 1.0, 0.0, 1.0]]
    assert above(pre, threshold, 0.1).tolist() == [[0.0, 1.0, 0.0, 1.0]]


@pytest.mark.parametrize("n", [1, 2, 7, 12])
def test_the_nth_largest_of_real_rows(n):
    rng = np.random.default_rng(n)
    x = rng.normal(size=(4, 6)).astype(np.float32)
    x[0, 0], x[1, 1] = x.max() + 1, x.max() + 1  # equal numbers
    rows = np.float32([1, 1, 1, 0])
    got = jax.jit(nth_largest)(jnp.array(x), jnp.float32(n), rows=jnp.array(rows))
    order = np.sort(np.maximum(x[:3], 0).ravel())[::-1]
    assert got == order[n - 1]


def test_fewer_positive_numbers_than_asked_give_zero():
    x = jnp.array([[-1.0, 2.0, 3.0]])
    assert nth_largest(x, jnp.float32(3), rows=jnp.ones(1)) == 0.0
    assert nth_largest(x, jnp.float32(2), rows=jnp.ones(1)) == 2.0


@pytest.mark.parametrize("size", [1e-38, 1e-20, 1e20, 3e38])
def test_any_size_of_numbers(size):
    x = jnp.float32(size) * jnp.array([[1.0, 0.5], [0.25, 0.125]])
    assert nth_largest(x, jnp.float32(2), rows=jnp.ones(2)) == x[0, 1]


def test_a_batch_on_several_devices_has_one_threshold():
    x = jnp.float32(np.random.default_rng(0).normal(size=(4, 3, 5)))
    rows = jnp.ones((4, 3)).at[3].set(0.0)
    each = jax.pmap(
        lambda x, r: nth_largest(x, jnp.float32(5), rows=r, axis_name="i"), axis_name="i"
    )(x, rows)
    whole = nth_largest(x.reshape(12, 5), jnp.float32(5), rows=rows.reshape(-1))
    assert np.asarray(each).tolist() == [float(whole)] * 4
