"""Distances between two sets of features [N, D]: FID and KID.

Values are comparable only for features of the same network. Published values use features of an
Inception network.
"""

import numpy as np


def frechet_distance(
    mean_a: np.ndarray, covariance_a: np.ndarray, mean_b: np.ndarray, covariance_b: np.ndarray
) -> float:
    """Squared Frechet (2-Wasserstein) distance of two Gaussians, in float64; never negative.

    ``|mean_a - mean_b|^2 + tr(A + B - 2 (A B)^(1/2))``. The trace of the root is the sum of the
    singular values of ``A^(1/2) B^(1/2)``. This form needs only roots of symmetric matrices, and
    avoids complex numbers for covariances without full rank.

    Source: Dowson & Landau, The Frechet distance between multivariate normal distributions, 1982.
    """
    roots = _root(covariance_a) @ _root(covariance_b)
    overlap = np.linalg.svd(roots, compute_uv=False).sum()
    spread = np.trace(covariance_a) + np.trace(covariance_b) - 2 * overlap
    return float(((mean_a - mean_b) ** 2).sum() + max(spread, 0.0))


def fid(features_a: np.ndarray, features_b: np.ndarray) -> float:
    """Frechet distance of the Gaussians with the means and covariances of two sets of features.

    It has a positive bias of order 1/N: compare only values for sets of the same size.

    Source: Heusel et al., GANs trained by a two time-scale update rule, 2017, section 3.

    Raises:
      ValueError: the sets are not [N, D] and [M, D] with N, M >= 2, or not finite.
    """
    a, b = _checked(features_a, features_b)
    covariances = [np.atleast_2d(np.cov(features, rowvar=False)) for features in (a, b)]
    return frechet_distance(a.mean(0), covariances[0], b.mean(0), covariances[1])


def kid(
    features_a: np.ndarray,
    features_b: np.ndarray,
    *,
    subsets: int = 100,
    size: int = 1000,
    seed: int = 0,
) -> float:
    """Squared maximum mean discrepancy under the kernel ``(x . y / D + 1)^3``, without bias.

    The mean over `subsets` pairs of random subsets of `size` (or all) features. It may be negative.

    Source: Binkowski et al., Demystifying MMD GANs, 2018, section 4; Gretton et al., A kernel
    two-sample test, 2012, equation 3.

    Raises: as `fid`.
    """
    a, b = _checked(features_a, features_b)
    rng = np.random.default_rng(seed)
    size = min(size, len(a), len(b))
    values = []
    for _ in range(subsets):
        x, y = (features[rng.choice(len(features), size, replace=False)] for features in (a, b))
        within = _mean_off_diagonal(_kernel(x, x)) + _mean_off_diagonal(_kernel(y, y))
        values.append(within - 2 * _kernel(x, y).mean())
    return float(np.mean(values))


def _kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return (x @ y.T / x.shape[1] + 1) ** 3


def _mean_off_diagonal(matrix: np.ndarray) -> float:
    n = len(matrix)
    return (matrix.sum() - np.trace(matrix)) / (n * (n - 1))


def _root(covariance: np.ndarray) -> np.ndarray:
    """The symmetric square root of a positive semi-definite matrix."""
    values, vectors = np.linalg.eigh(np.asarray(covariance, np.float64))
    return (vectors * np.sqrt(values.clip(min=0))) @ vectors.T


def _checked(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or min(len(a), len(b)) < 2:
        raise ValueError(
            f"features must be [N, D] and [M, D] with N, M >= 2, got {a.shape} and {b.shape}"
        )
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise ValueError("features must be finite, got NaN or infinity: check the images")
    return a, b
