"""Detect outliers: rows with a low score under an autoencoder of normal rows."""

from collections.abc import Sequence
from numbers import Real
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import OutlierMixin

from ae_jax.sklearn.base import AutoencoderEstimator
from ae_jax.spec import Spec, require


class AutoencoderOutlierDetector(OutlierMixin, AutoencoderEstimator):
    """An outlier detector: outliers are the rows with the lowest `score_samples`.

    Train it on normal rows, or with few outliers among them, because an autoencoder learns the most
    frequent patterns best. It has the parameters and attributes of `AutoencoderEstimator`, and:

    Args:
      contamination: fraction of the training rows to call outliers, in (0, 0.5]. "auto" sets the
        threshold to the lower fence of a box plot: 1.5 times the interquartile range below the
        first quartile of the training scores. An overfitted model gives new rows lower scores than
        its training rows. If there are too many false alarms, train for fewer epochs, or set
        `offset_` from the scores of held-out rows.

    Attributes:
      offset_: the threshold; a row with a lower score is an outlier.

    Source: Tukey, Exploratory data analysis, 1977 (the fence).
    """

    def __init__(
        self,
        model: str | Spec = "vae",
        *,
        contamination: float | Literal["auto"] = "auto",
        latent_dim: int | None = None,
        hidden_layer_sizes: Sequence[int] | None = None,
        loss: str | None = None,
        epochs: int = 50,
        batch_size: int = 128,
        learning_rate: float = 1e-3,
        event_shape: Sequence[int] | None = None,
        random_state: int | np.random.RandomState | None = None,
        verbose: bool = False,
    ) -> None:
        super().__init__(
            model,
            latent_dim=latent_dim,
            hidden_layer_sizes=hidden_layer_sizes,
            loss=loss,
            epochs=epochs,
            batch_size=batch_size,
            learning_rate=learning_rate,
            event_shape=event_shape,
            random_state=random_state,
            verbose=verbose,
        )
        self.contamination = contamination

    def fit(self, X: ArrayLike, y: Any = None) -> Self:
        """Train on X [N, D], set the threshold from its scores, and return self.

        `y` are labels for models that learn from them; others ignore it.

        Raises the errors of `AutoencoderEstimator.fit`, and `ValueError` if `contamination` is
        neither "auto" nor a fraction.
        """
        fraction = self.contamination
        ok = fraction == "auto" or (isinstance(fraction, Real) and 0 < fraction <= 0.5)
        require(ok, "contamination", fraction, 'must be "auto" or in (0, 0.5]')
        super().fit(X, y)
        scores = self.score_samples(X)
        if isinstance(fraction, str):
            first, third = np.percentile(scores, [25, 75])
            self.offset_ = float(first - 1.5 * (third - first))
        else:
            self.offset_ = float(np.percentile(scores, 100 * fraction))
        return self

    def decision_function(self, X: ArrayLike) -> np.ndarray:
        """Return ``score_samples(X) - offset_``, an array [N] that is negative for outliers."""
        return self.score_samples(X) - self.offset_

    def predict(self, X: ArrayLike) -> np.ndarray:
        """Return +1 for each inlier and -1 for each outlier of X [N, D], an array [N]."""
        return np.where(self.decision_function(X) < 0, -1, 1)
