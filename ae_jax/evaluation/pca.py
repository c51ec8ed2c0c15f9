"""Principal component analysis: the linear autoencoder with which others are compared."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax.typing import ArrayLike


@struct.dataclass
class PCA:
    """A fitted PCA with K components, for events with D elements; a pytree of arrays.

    Attributes:
        mean: `[D]`, the mean training row.
        components: `[K, D]`, orthonormal rows, largest variance first; the entry of largest
            magnitude in each row is positive, so that the signs do not depend on the solver.
        explained_variance: `[K]`, the variance of each latent over the training rows (divisor N).
        event_shape: the shape of one example, with D elements (static).
    """

    mean: jax.Array
    components: jax.Array
    explained_variance: jax.Array
    event_shape: tuple[int, ...] = struct.field(pytree_node=False)

    def encode(self, x: ArrayLike) -> jax.Array:
        """Latents `[B, K]` of x `[B, *event]` (uint8 is read as x/255)."""
        rows = flatten_events(x, self.event_shape)
        return jnp.matmul(rows - self.mean, self.components.T, precision="highest")

    def decode(self, z: ArrayLike) -> jax.Array:
        """Reconstructions `[B, *event]` of latents z `[B, K]`; not clipped to the data's range."""
        rows = jnp.matmul(z, self.components, precision="highest") + self.mean
        return rows.reshape(-1, *self.event_shape)


def fit_pca(x: ArrayLike, latent_dim: int, *, chunk_size: int = 1_000) -> PCA:
    """Fit PCA by the eigen-decomposition of the covariance, in float64 on the host.

    Args:
        x: `[N, *event]`, finite floats, or uint8, which is read as x/255. With D elements
            per event the cost is O(N D^2 + D^3).
        latent_dim: the number of components K, at most min(N, D).
        chunk_size: rows converted to float64 at a time, which bounds the memory.

    Raises:
        ValueError: x is empty, has no event axis or is not finite, or latent_dim is out of range.
        TypeError: x is neither floating point nor uint8.
    """
    x = check_data(x, latent_dim)
    event_shape = x.shape[1:]
    chunks = [x[i : i + chunk_size] for i in range(0, len(x), chunk_size)]
    mean = sum(_float64_rows(chunk).sum(axis=0) for chunk in chunks) / len(x)
    covariance = np.zeros((mean.size, mean.size))
    for chunk in chunks:
        centered = _float64_rows(chunk) - mean
        covariance += centered.T @ centered / len(x)
    variances, vectors = np.linalg.eigh(covariance)
    return PCA(
        mean=jnp.asarray(mean, jnp.float32),
        components=orient(jnp.asarray(vectors.T[::-1][:latent_dim], jnp.float32)),
        # Rounding can leave the zero eigenvalues of a singular covariance slightly negative.
        explained_variance=jnp.asarray(variances[::-1][:latent_dim].clip(min=0), jnp.float32),
        event_shape=event_shape,
    )


def fit_mean(x: ArrayLike) -> PCA:
    """A PCA without components: its reconstructions are the mean of x `[N, *event]`.

    Raises the errors of `fit_pca`.
    """
    x = check_data(x, 1)
    mean = sum(_float64_rows(x[i : i + 1000]).sum(axis=0) for i in range(0, len(x), 1000)) / len(x)
    return PCA(
        mean=jnp.asarray(mean, jnp.float32),
        components=jnp.zeros((0, mean.size)),
        explained_variance=jnp.zeros(0),
        event_shape=x.shape[1:],
    )


def check_data(x: ArrayLike, latent_dim: int) -> np.ndarray:
    """x `[N, *event]` as a NumPy array of the same dtype; raises the errors of `fit_pca`."""
    x = np.asarray(x)
    if x.ndim < 2 or x.size == 0:
        raise ValueError(f"x must be [N, *event] with no empty axis, got shape {x.shape}")
    _check_dtype(x.dtype)
    if x.dtype != np.uint8 and not np.isfinite(x).all():
        raise ValueError("x must be finite, got NaN or infinity: drop or fill those rows")
    largest = min(len(x), x[0].size)
    if not 1 <= latent_dim <= largest:
        raise ValueError(
            f"latent_dim must be between 1 and min(N, D) = {largest} for x of shape {x.shape}, "
            f"got {latent_dim}"
        )
    return x


def orient(components: jax.Array) -> jax.Array:
    """Components `[K, D]`, with the sign of each row that makes its largest entry positive."""
    largest = jnp.abs(components).argmax(axis=1, keepdims=True)
    return components * jnp.sign(jnp.take_along_axis(components, largest, axis=1))


def flatten_events(x: ArrayLike, event_shape: tuple[int, ...]) -> jax.Array:
    """x `[B, *event_shape]` as float32 rows `[B, D]`; uint8 is divided by 255."""
    x = jnp.asarray(x)
    if x.ndim == 0 or x.shape[1:] != event_shape:
        raise ValueError(f"x must have shape [B, *{event_shape}], got {x.shape}")
    _check_dtype(x.dtype)
    scale = 255 if x.dtype == jnp.uint8 else 1
    return x.reshape(len(x), math.prod(event_shape)).astype(jnp.float32) / scale


def _check_dtype(dtype: np.dtype) -> None:
    if dtype != np.uint8 and not jnp.issubdtype(dtype, jnp.floating):
        raise TypeError(f"x must be floating point or uint8, got {dtype}")


def _float64_rows(x: np.ndarray) -> np.ndarray:
    scale = 255 if x.dtype == np.uint8 else 1
    return x.reshape(len(x), -1).astype(np.float64) / scale
