"""A density on codes, fitted to those of the training set, for a model without a prior of its own.

What it draws can be decoded; with one component it is a Gaussian. For a variational autoencoder it
is a model of the aggregate posterior.

Source: Ghosh et al., From variational to deterministic autoencoders, 2020, section 4 (ex-post
density estimation).
"""

import numpy as np
from sklearn.mixture import GaussianMixture

from ae_jax.spec import require

ROWS = 10_000
FLOOR = 1e-6


def fit_density(z: np.ndarray, components: int = 1, *, seed: int = 0) -> GaussianMixture:
    """A mixture of Gaussians with full covariances on codes [N, K], by expectation maximisation.

    It is fitted to 10000 of them, drawn with `seed`, if there are more. A millionth of the codes'
    mean variance is added to every variance, so that dead units leave it a density.

    Returns:
      scikit-learn's `GaussianMixture`, for `draw` and its `score_samples`.

    Raises:
      ValueError: `z` is not [N, K] or not finite, or there are fewer codes than components.
    """
    if z.ndim != 2:
        raise ValueError(f"z has shape {z.shape}: flatten the codes to [N, K]")
    if not np.isfinite(z).all():
        raise ValueError("z must be finite, got NaN or infinity: has the training diverged?")
    enough = 1 <= components <= len(z)
    require(enough, "components", components, f"must be between 1 and the {len(z)} codes there are")
    rng = np.random.default_rng(seed)
    chosen = z[np.sort(rng.permutation(len(z))[:ROWS])].astype(np.float64)
    floor = FLOOR * chosen.var(0).mean() or FLOOR  # all the same: a narrow peak there
    mixture = GaussianMixture(components, reg_covar=floor, random_state=seed)
    return mixture.fit(chosen)


def draw(mixture: GaussianMixture, count: int, *, seed: int = 0) -> np.ndarray:
    """Codes from a fitted mixture, in random order: float32 [count, K]."""
    rng = np.random.default_rng(seed)
    sizes = rng.multinomial(count, mixture.weights_)
    parts = [
        rng.multivariate_normal(mean, covariance, size, method="cholesky")
        for mean, covariance, size in zip(mixture.means_, mixture.covariances_, sizes, strict=True)
    ]
    return rng.permutation(np.concatenate(parts)).astype(np.float32)
