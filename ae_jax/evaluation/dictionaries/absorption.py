"""Absorption: the latent of a parent feature that is silent where a child of the feature is active.

Source: Chanin et al., "A is for Absorption: Studying Feature Splitting and Absorption in Sparse
Autoencoders", 2024. They measure it on the letters of tokens, with probes in place of features;
here the features and their hierarchy are known.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ae_jax.evaluation.dictionaries.matching import Match

LEAST_COSINE = 0.5
"""Of a parent feature with its latent, for its children to be counted."""


class Absorption(NamedTuple):
    """How often latents of parent features are silent, by whether a child is active."""

    rate: float
    """Among the samples in which a child and its parent are active: the share in which the parent's
    latent is silent, averaged over children. NaN if there are none."""
    missed: float
    """Among the samples in which a parent is active and none of its children: the share in which
    its latent is silent, averaged over parents. It is what `rate` is for a latent that does not
    heed the children. NaN if there are none."""
    children: int
    """Children in the average: those that were active, of parents with a latent."""


class AbsorptionTally:
    """Counts for `Absorption`, over chunks of samples.

    A parent's latent is the one of the one-to-one matching. Parents without a latent, or with one
    of a |cosine| below `least_cosine`, are not counted: nothing is there to be silent.

    Raises:
      ValueError: `parents` is not of N integers, each -1 or the number of a feature.
    """

    def __init__(
        self, matches: Match, parents: ArrayLike, *, least_cosine: float = LEAST_COSINE
    ) -> None:
        parent = np.asarray(parents)
        if parent.shape != (matches.count,) or parent.dtype.kind not in "iu":
            raise ValueError(
                f"parents is {parent.dtype}{list(parent.shape)}: needs an integer for each "
                f"feature, [{matches.count}]"
            )
        if not ((parent >= -1) & (parent < matches.count)).all():
            raise ValueError(
                f"parents has values in [{parent.min()}, {parent.max()}]: needs the numbers of "
                f"features, 0 to {matches.count - 1}, or -1 for none"
            )
        latent_of = np.full(matches.count + 1, -1)  # with an entry for the parent -1
        near = matches.cosine >= least_cosine
        latent_of[matches.features[near]] = matches.latents[near]
        children = np.flatnonzero(latent_of[parent] >= 0)
        # Siblings side by side, so that a parent's children are a slice.
        self._children = children[np.argsort(parent[children], kind="stable")]
        self._parents, self._first, self._family = np.unique(
            parent[self._children], return_index=True, return_inverse=True
        )
        self._latents = latent_of[self._parents]
        counts = (np.zeros(size, np.int64) for size in 2 * [len(children), len(self._parents)])
        self._active, self._alone, self._active_silent, self._alone_silent = counts

    def add(self, fires: np.ndarray, active: np.ndarray) -> None:
        """Count samples: which latents fire [n, W] and which features are active [n, N]."""
        if not len(self._children):
            return
        silent = ~fires[:, self._latents]  # [n, parents]
        parent = active[:, self._parents]
        child = active[:, self._children] & parent[:, self._family]  # [n, children]
        alone = parent & ~np.logical_or.reduceat(child, self._first, axis=1)
        self._active += child.sum(0)
        self._active_silent += (child & silent[:, self._family]).sum(0)
        self._alone += alone.sum(0)
        self._alone_silent += (alone & silent).sum(0)

    def result(self) -> Absorption:
        """The rates over all samples so far."""
        return Absorption(
            _mean_share(self._active_silent, self._active),
            _mean_share(self._alone_silent, self._alone),
            int((self._active > 0).sum()),
        )


def _mean_share(part: np.ndarray, whole: np.ndarray) -> float:
    """The mean of ``part / whole`` where `whole` is not 0; NaN if that is nowhere."""
    seen = whole > 0
    return float((part[seen] / whole[seen]).mean()) if seen.any() else float("nan")
