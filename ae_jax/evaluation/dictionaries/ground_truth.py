"""How well a dictionary has found features that are known. Plain NumPy and SciPy.

`scores` computes everything; `Tally` and its parts serve those who have chunks of their own.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike

from ae_jax.evaluation.dictionaries.absorption import AbsorptionTally
from ae_jax.evaluation.dictionaries.matching import Match, match


class Tally:
    """Counts of latents that fire, of their best features, and of both together, over samples.

    A latent fires, and a feature is active, where it is not 0. Chunks are added one after another:
    any number of samples can be counted, with the result for all of them at once.
    """

    def __init__(self, matches: Match, parents: ArrayLike | None = None) -> None:
        """Count for W latents and N features that were matched.

        `parents` [N] has the parent of each feature, or -1; with it, absorption is counted too.

        Raises `ValueError` for parents that are no features.
        """
        width = len(matches.best)
        self.matches, self.samples = matches, 0
        self.fires, self.active, self.both = (np.zeros(width, np.int64) for _ in range(3))
        self.all_active = 0
        self.absorption = None if parents is None else AbsorptionTally(matches, parents)

    def add(self, learned: ArrayLike, true: ArrayLike) -> None:
        """Count samples: latents [n, W] and true activations [n, N].

        Raises `ValueError` for other shapes.
        """
        fires, active = np.asarray(learned) != 0, np.asarray(true) != 0
        width, count = len(self.matches.best), self.matches.count
        for name, table, columns in (("learned", fires, width), ("true", active, count)):
            if table.shape != (len(fires), columns):
                raise ValueError(
                    f"{name} has shape {list(table.shape)}: needs [n, {columns}], and n samples in "
                    "both of learned and true"
                )
        of_best = active[:, self.matches.best]
        self.samples += len(fires)
        self.fires += fires.sum(0)
        self.active += of_best.sum(0)
        self.both += (fires & of_best).sum(0)
        self.all_active += int(active.sum())
        if self.absorption is not None:
            self.absorption.add(fires, active)

    def f1(self) -> np.ndarray:
        """The F1 score of "this latent fires" for its best feature: [W]; 0 if neither ever does.

        It is 2 TP / (2 TP + FP + FN), the harmonic mean of `precision` and `recall`.
        """
        return 2 * self.both / np.maximum(self.fires + self.active, 1)

    def precision(self) -> np.ndarray:
        """The share of a latent's firings in which its best feature is active: [W]."""
        return self.both / np.maximum(self.fires, 1)

    def recall(self) -> np.ndarray:
        """The share of its best feature's activations in which a latent fires: [W]."""
        return self.both / np.maximum(self.active, 1)


def scores(
    learned: ArrayLike,
    true: ArrayLike,
    chunks: Iterable[tuple[ArrayLike, ArrayLike]],
    parents: ArrayLike | None = None,
) -> dict[str, float]:
    """All scores of a dictionary on features that are known.

    Args:
      learned: the directions of W latents: [W, d].
      true: the directions of N features: [N, d].
      chunks: pairs of latents [n, W] and true activations [n, N] of the same samples.
      parents: the parent of each feature, or -1: integers [N], for absorption.

    Returns:
      ``f1``, ``precision`` and ``recall``, means over latents with 0 for dead ones; ``mcc`` and
      ``uniqueness`` (see `Match`); ``l0`` and ``true_l0``, the mean numbers of latents that fire
      and of features that are active; and with `parents` ``absorption`` and ``absorption_missed``
      (the `rate` and `missed` of `ae_jax.evaluation.dictionaries.absorption.Absorption`).

    Raises:
      ValueError: shapes that do not fit, or no samples.
    """
    tally = Tally(match(learned, true), parents)
    for pair in chunks:
        tally.add(*pair)
    if not tally.samples:
        raise ValueError("chunks: has no samples: give at least one pair of arrays")
    result = {
        "f1": float(tally.f1().mean()),
        "precision": float(tally.precision().mean()),
        "recall": float(tally.recall().mean()),
        "mcc": tally.matches.mcc,
        "uniqueness": tally.matches.uniqueness,
        "l0": int(tally.fires.sum()) / tally.samples,
        "true_l0": tally.all_active / tally.samples,
    }
    if tally.absorption is not None:
        absorption = tally.absorption.result()
        result |= {"absorption": absorption.rate, "absorption_missed": absorption.missed}
    return result
