"""Structural similarity of images."""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

WINDOW = 11
SIGMA = 1.5
K1, K2 = 0.01, 0.03


def ssim(a: ArrayLike, b: ArrayLike) -> Array:
    """Structural similarity of images `a` and `b` in [0, 1], [B, H, W, C] -> [B], at most 1.

    The mean over channels and over all positions of a Gaussian window inside the image, for a peak
    of 1. The window has 11 by 11 pixels (sigma 1.5), or the largest odd size that fits the image.

    Source: Wang, Bovik, Sheikh & Simoncelli, Image quality assessment: from error visibility to
    structural similarity, 2004, section III.
    """
    a, b = jnp.asarray(a, jnp.float32), jnp.asarray(b, jnp.float32)
    if a.ndim != 4 or a.shape != b.shape:
        raise ValueError(f"ssim takes two arrays [B, H, W, C], got {a.shape} and {b.shape}")
    rows, columns = (_window_means(size) for size in a.shape[1:3])

    def blur(image: Array) -> Array:
        return jnp.einsum("ih,bhwc,jw->bijc", rows, image, columns, precision="highest")

    # Without the images' means, the moments lose less precision by cancellation.
    center = a.mean((1, 2), keepdims=True)
    u, v = a - center, b - center
    mean_u, mean_v = blur(u), blur(v)
    var_a, var_b = blur(u * u) - mean_u**2, blur(v * v) - mean_v**2
    covariance = blur(u * v) - mean_u * mean_v
    mean_a, mean_b = mean_u + center, mean_v + center
    luminance = (2 * mean_a * mean_b + K1**2) / (mean_a**2 + mean_b**2 + K1**2)
    structure = (2 * covariance + K2**2) / (var_a + var_b + K2**2)
    return (luminance * structure).mean((1, 2, 3))


def are_images(event_shape: Sequence[int]) -> bool:
    """Whether examples of this shape are images [H, W, 1 or 3] with sides of more than 2 pixels."""
    return len(event_shape) == 3 and event_shape[2] in (1, 3) and min(event_shape[:2]) > 2


def _window_means(size: int) -> np.ndarray:
    """[positions, size]: each row has the weights of one position of the window along an axis."""
    width = min(WINDOW, size - (size + 1) % 2)
    offsets = np.arange(width) - width // 2
    weights = np.exp(-0.5 * (offsets / SIGMA) ** 2)
    matrix = np.zeros((size - width + 1, size), np.float32)
    for i, row in enumerate(matrix):
        row[i : i + width] = weights / weights.sum()
    return matrix
