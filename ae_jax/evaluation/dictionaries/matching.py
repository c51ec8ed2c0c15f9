"""Which true feature each latent of a dictionary stands for, by the cosine of their directions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import linear_sum_assignment


@dataclass(frozen=True, eq=False)
class Match:
    """The matches of W latents with N true features (see `match`)."""

    best: np.ndarray
    """The feature of the largest |cosine| with each latent: [W] of int."""
    best_cosine: np.ndarray
    """That |cosine|: [W]."""
    latents: np.ndarray
    """The latents of the one-to-one matching with the largest sum: [min(W, N)] of int."""
    features: np.ndarray
    """The features matched to these latents: [min(W, N)] of int."""
    cosine: np.ndarray
    """The |cosine| of each matched pair: [min(W, N)]."""
    count: int
    """The number N of true features."""

    @property
    def mcc(self) -> float:
        """The mean correlation coefficient: the mean |cosine| of the one-to-one matching."""
        return float(self.cosine.mean())

    @property
    def uniqueness(self) -> float:
        """Distinct best features over latents: 1 if no two latents stand for the same one."""
        return len(np.unique(self.best)) / len(self.best)


def match(learned: ArrayLike, true: ArrayLike) -> Match:
    """Match learned directions [W, d] with true ones [N, d], whatever their signs and lengths.

    The one-to-one matching is the Hungarian one, of SciPy. A direction of length 0 has cosine 0
    with every other. Memory grows with W * N.

    Raises:
      ValueError: directions that are no matrices of the same width, empty, or not finite.

    Source of the mean correlation coefficient: Song et al., "Position: Mechanistic Interpretability
    Should Prioritize Feature Consistency in SAEs", 2025.
    """
    a, b = _directions("learned", learned), _directions("true", true)
    if a.shape[1] != b.shape[1]:
        raise ValueError(
            f"learned has directions in {a.shape[1]} dimensions and true in {b.shape[1]}: compare "
            "those of one space"
        )
    cosines = np.abs(a @ b.T)
    best = cosines.argmax(1)
    latents, features = linear_sum_assignment(cosines, maximize=True)
    return Match(
        best=best,
        best_cosine=cosines[np.arange(len(a)), best],
        latents=latents,
        features=features,
        cosine=cosines[latents, features],
        count=len(b),
    )


def _directions(name: str, array: ArrayLike) -> np.ndarray:
    """Rows of length 1, or 0: [n, d] of the float type of `array`, at least float32."""
    rows = np.asarray(array)
    if rows.ndim != 2 or not rows.size:
        raise ValueError(f"{name} has shape {list(rows.shape)}: needs one direction a row, [n, d]")
    rows = rows.astype(np.result_type(rows.dtype, np.float32), copy=False)
    if not np.isfinite(rows).all():
        bad = int(np.flatnonzero(~np.isfinite(rows).all(1))[0])
        raise ValueError(f"{name}[{bad}] is not finite: compare dictionaries that are")
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(lengths > 0, lengths, 1)
