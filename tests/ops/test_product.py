"""Products against float64 NumPy, whatever form they are compiled in."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from ae_jax.ops.product import FEW_OUTPUTS, product

LARGE = 40  # more than few outputs, and than few inputs


def matrices(*shape, outputs, seed=0):
    rng = np.random.default_rng(seed)
    x, w = rng.normal(size=shape), rng.normal(size=(shape[-1], outputs))
    return x.astype(np.float32), w.astype(np.float32)


@pytest.mark.parametrize("inputs", [1, 3, LARGE])
@pytest.mark.parametrize("outputs", [1, 2, 5, FEW_OUTPUTS, FEW_OUTPUTS + 1, LARGE])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_value_and_gradients_are_those_of_the_product(inputs, outputs, dtype):
    x, w = (jnp.asarray(a, dtype) for a in matrices(2, 4, inputs, outputs=outputs))
    dy = jnp.asarray(matrices(2, 4, outputs, outputs=1, seed=1)[0], dtype)
    y, pull = jax.vjp(jax.jit(product), x, w)
    xs, ws, dys = (np.asarray(a, np.float64) for a in (x, w, dy))
    wanted = [xs @ ws, dys @ ws.T, np.einsum("abk,abn->kn", xs, dys)]
    tolerance = 1e-5 if dtype == jnp.float32 else 0.02
    for got, want in zip((y, *pull(dy)), wanted, strict=True):
        assert got.dtype == dtype
        atol = tolerance * np.abs(want).max()
        np.testing.assert_allclose(np.float64(got), want, rtol=0, atol=atol)


@pytest.mark.parametrize("outputs", [2, FEW_OUTPUTS + 1])
def test_derivatives_of_both_modes_and_of_second_order(outputs):
    x, w = matrices(4, LARGE, outputs=outputs)
    check_grads(lambda x, w: jnp.sin(product(x, w)), (x / 8, w / 8), order=2, atol=0.02, rtol=0.02)


@pytest.mark.parametrize("outputs", [2, FEW_OUTPUTS + 1])
def test_vmap_is_a_loop(outputs):
    """Over the weights, as in a sweep."""
    x, _ = matrices(4, LARGE, outputs=outputs)
    ws = np.stack([matrices(4, LARGE, outputs=outputs, seed=seed)[1] for seed in range(3)])

    def gradient(w):
        return jax.grad(lambda w: jnp.square(product(x, w)).sum())(w)

    together = jax.jit(jax.vmap(gradient))(ws)
    np.testing.assert_allclose(together, [gradient(w) for w in ws], rtol=1e-5, atol=1e-3)


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="about programs for the CPU")
def test_the_gradient_of_few_outputs_is_computed_transposed():
    x, w = matrices(16, LARGE, outputs=2)
    grad = jax.jit(jax.grad(lambda w, x: jnp.square(product(x, w)).sum()))
    # If XLA puts the transpose into the product, [40, 2] is computed ten times slower.
    assert re.search(rf"f32\[2,{LARGE}\]\S* dot\(", grad.lower(w, x).compile().as_text())
