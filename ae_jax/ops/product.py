"""Matrix products that are also fast in bfloat16 and for few outputs.

In bfloat16, XLA's CPU backend converts a product with a bfloat16 result to float32, which is slower
than float32 itself. A product with a float32 result uses the matrix unit of CPUs that have one
(AMX). The gradients of such a product do not have that form, so they are written out here. On other
devices both forms are equal, because all of them sum in float32.

For few outputs, such as small latents, the CPU backend is slow at the gradient of the weights, so
its transpose is computed. Other products in float32 are those of `jax.lax`.
"""

import jax
import jax.numpy as jnp
from jax import Array, lax

# For one output XLA itself is fast; for more outputs than this the transpose is not always faster.
FEW_OUTPUTS = 24


def product(x: Array, w: Array) -> Array:
    """``x @ w``, [..., K] and [K, N] -> [..., N], of the same dtype.

    In bfloat16 there is no forward-mode derivative.
    """
    if x.dtype != jnp.bfloat16:
        if not 1 < w.shape[1] <= min(FEW_OUTPUTS, w.shape[0]):
            return x @ w
        return lax.platform_dependent(x, w, cpu=_narrow_product, default=jnp.matmul)
    return _half_product(x.reshape(-1, x.shape[-1]), w).reshape(*x.shape[:-1], w.shape[1])


def dense_dot_general(x: Array, w: Array, dimensions, precision=None, **options) -> Array:
    """`product` as the ``dot_general`` of `flax.linen.Dense`."""
    return product(x, w)


def _narrow_product(x: Array, w: Array) -> Array:
    # The gradient of w is then a separate product, [N, K], which is transposed afterwards.
    w = lax.optimization_barrier(w.T)
    return lax.dot_general(x, w, (((x.ndim - 1,), (1,)), ((), ())))


@jax.custom_vjp
def _half_product(x: Array, w: Array) -> Array:
    return lax.dot(x, w, preferred_element_type=jnp.float32).astype(x.dtype)


def _forward(x: Array, w: Array) -> tuple[Array, tuple[Array, Array]]:
    return _half_product(x, w), (x, w)


def _backward(residuals: tuple[Array, Array], dy: Array) -> tuple[Array, Array]:
    x, w = residuals
    # Equal to dy @ w.T, but a transposed matrix would be converted to float32 first.
    dx = lax.dot_general(dy, w, (((1,), (1,)), ((), ())), preferred_element_type=jnp.float32)
    return dx.astype(x.dtype), _half_product(x.T, dy)


_half_product.defvjp(_forward, _backward)
