"""Densities of latents, for models that have no prior of their own.

Samples of a density can be decoded to new examples. With one component the density is a Gaussian.
For a variational autoencoder it models the aggregate posterior.

Source: Ghosh et al., From variational to deterministic autoencoders, 2020, section 4 (ex-post
density estimation).
"""

from copy import copy

import numpy as np
from sklearn.mixture import GaussianMixture

from ae_jax.spec import require

ROWS = 10_000
FLOOR = 1e-6


def fit_density(z: np.ndarray, components: int = 1, *, seed: int = 0) -> GaussianMixture:
    """Fit a mixture of Gaussians with full covariances to latents [N, K].

    At most 10,000 rows are used, drawn with `seed`. A millionth of the mean variance is added to
    every variance, so that the density also exists for latents that never change.

    Raises:
      ValueError: `z` is not [N, K] or not finite, or N is smaller than `components`.
    """
    if z.ndim != 2:
        raise ValueError(f"z has shape {z.shape}: flatten the latents to [N, K]")
    if not np.isfinite(z).all():
        raise ValueError("z must be finite, got NaN or infinity: has the training diverged?")
    ok = 1 <= components <= len(z)
    require(ok, "components", components, f"must be 1 to {len(z)}, the number of latents")
    rng = np.random.default_rng(seed)
    chosen = z[np.sort(rng.permutation(len(z))[:ROWS])].astype(np.float64)
    floor = FLOOR * chosen.var(0).mean() or FLOOR  # a narrow peak if all latents are equal
    mixture = GaussianMixture(components, reg_covar=floor, random_state=seed)
    return mixture.fit(chosen)


def draw(mixture: GaussianMixture, count: int, *, seed: int = 0) -> np.ndarray:
    """Samples of a fitted mixture in random order: float32 [count, K]."""
    samples, _ = copy(mixture).set_params(random_state=seed).sample(count)  # ordered by component
    return np.random.default_rng(seed).permutation(samples).astype(np.float32)
