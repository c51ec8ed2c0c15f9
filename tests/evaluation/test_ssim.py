"""SSIM against its definition, written out in float64."""

import numpy as np
import pytest

from ae_jax.evaluation.ssim import ssim


def reference(a, b):
    """Section III of Wang et al. 2004, window by window, of images [H, W]."""
    size = min(11, min(a.shape) - (min(a.shape) + 1) % 2)
    at = np.arange(size) - size // 2
    window = np.exp(-(at[:, None] ** 2 + at**2) / (2 * 1.5**2))
    window /= window.sum()
    values = []
    for i in range(a.shape[0] - size + 1):
        for j in range(a.shape[1] - size + 1):
            u, v = a[i : i + size, j : j + size], b[i : i + size, j : j + size]
            mu, mv = (window * u).sum(), (window * v).sum()
            vu, vv = (window * (u - mu) ** 2).sum(), (window * (v - mv) ** 2).sum()
            cov = (window * (u - mu) * (v - mv)).sum()
            c1, c2 = 0.01**2, 0.03**2
            top = (2 * mu * mv + c1) * (2 * cov + c2)
            values.append(top / ((mu**2 + mv**2 + c1) * (vu + vv + c2)))
    return np.mean(values)


@pytest.mark.parametrize("shape", [(16, 13, 1), (11, 11, 3), (8, 8, 1)])
def test_it_is_its_definition(shape):
    rng = np.random.default_rng(0)
    a = rng.uniform(size=(4, *shape))
    b = np.clip(a + 0.2 * rng.normal(size=a.shape), 0, 1)
    b[1], b[2] = a[1].mean(), 1 - a[2]  # nothing but the mean; the negative
    expected = [
        np.mean([reference(u[..., c], v[..., c]) for c in range(shape[-1])])
        for u, v in zip(a, b, strict=True)
    ]
    np.testing.assert_allclose(ssim(a, b), expected, atol=2e-5)
    np.testing.assert_allclose(ssim(b, a), expected, atol=2e-5)


def test_equal_images_have_1_and_flat_ones_are_no_trouble():
    a = np.random.default_rng(0).uniform(size=(2, 12, 12, 1))
    np.testing.assert_allclose(ssim(a, a), 1, atol=1e-6)
    black, white = np.zeros((1, 12, 12, 1)), np.ones((1, 12, 12, 1))
    np.testing.assert_allclose(ssim(white, white), 1, atol=1e-6)
    np.testing.assert_allclose(ssim(black, white), 1e-4 / (1 + 1e-4), rtol=1e-3)


def test_shapes_that_do_not_fit():
    with pytest.raises(ValueError, match=r"two arrays \[B, H, W, C\], got \(3, 8, 8\)"):
        ssim(np.zeros((3, 8, 8)), np.zeros((3, 8, 8)))
