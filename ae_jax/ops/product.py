"""Matrix products that are fast in bfloat16, and to a few outputs, as well.

In bfloat16, XLA's CPU backend computes a product with a bfloat16 result by way of float32, slower
than float32 itself. With a float32 result it runs on the matrix unit of CPUs that have one (AMX).
The gradients of such a product are not of that form, so they are written out here: a step of
784-1000-500-250-30 then takes 0.75 to 0.84 of the time in float32. Elsewhere the two are the same,
since all devices sum in float32.

To a few outputs, as those of a small code, the CPU backend is slow at the gradient of the weights
(512 -> 2, a batch of 128: 90 us, and 9 for its transpose): a step of a variational 784-512-2 takes
0.95 to 0.97 of the time. float32 otherwise takes `jax.lax` as it is.
"""

import jax
import jax.numpy as jnp
from jax import Array, lax

# To one output XLA is fast by itself; from 28 on the transpose is no faster in every case.
FEW_OUTPUTS = 24


def product(x: Array, w: Array) -> Array:
    """``x @ w``, [..., K] and [K, N] -> [..., N], in the dtype they share.

    In bfloat16 it has no forward-mode derivative.
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
    # The gradient of w is then a product of its own, [N, K], and transposed afterwards.
    w = lax.optimization_barrier(w.T)
    return lax.dot_general(x, w, (((x.ndim - 1,), (1,)), ((), ())))


@jax.custom_vjp
def _half_product(x: Array, w: Array) -> Array:
    return lax.dot(x, w, preferred_element_type=jnp.float32).astype(x.dtype)


def _forward(x: Array, w: Array) -> tuple[Array, tuple[Array, Array]]:
    return _half_product(x, w), (x, w)


def _backward(residuals: tuple[Array, Array], dy: Array) -> tuple[Array, Array]:
    x, w = residuals
    # dy @ w.T: a transposed matrix would be brought to float32 first.
    dx = lax.dot_general(dy, w, (((1,), (1,)), ((), ())), preferred_element_type=jnp.float32)
    return dx.astype(x.dtype), _half_product(x.T, dy)


_half_product.defvjp(_forward, _backward)
