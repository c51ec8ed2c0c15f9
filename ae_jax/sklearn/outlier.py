"""Outliers: rows that an autoencoder of the others explains badly."""

from collections.abc import Sequence
from numbers import Real
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import OutlierMixin

from ae_jax.sklearn.base import AutoencoderEstimator
from ae_jax.spec import Spec, require


class AutoencoderOutlierDetector(OutlierMixin, AutoencoderEstimator):
    """Outliers are the rows with the lowest `score_samples`.

    Train it on rows that are normal, or nearly all so: an autoencoder learns what it sees often.
    Parameters and attributes are those of `AutoencoderEstimator`, and:

    Args:
      contamination: the fraction of the training rows that are called outliers, in (0, 0.5].
        "auto" calls those so that lie below the lower fence of a box plot, 1.5 times the
        interquartile range below the first quartile of the training scores. New rows score below
        those of the training the more, the closer the model has learned these: if it raises too
        many false alarms, train for fewer epochs, or put `offset_` where rows held out say.

    Attributes:
      offset_: the score below which a row is an outlier.

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
        """Train on X [N, D], and set the threshold by its scores; y is not used.

        Raises what `AutoencoderEstimator.fit` does, and `ValueError` for a `contamination` that is
        neither "auto" nor a fraction.
        """
        fraction = self.contamination
        ok = fraction == "auto" or (isinstance(fraction, Real) and 0 < fraction <= 0.5)
        require(ok, "contamination", fraction, 'must be "auto" or in (0, 0.5]')
        super().fit(X)
        scores = self.score_samples(X)
        if isinstance(fraction, str):
            first, third = np.percentile(scores, [25, 75])
            self.offset_ = float(first - 1.5 * (third - first))
        else:
            self.offset_ = float(np.percentile(scores, 100 * fraction))
        return self

    def decision_function(self, X: ArrayLike) -> np.ndarray:
        """``score_samples(X) - offset_``, [N]: negative for outliers."""
        return self.score_samples(X) - self.offset_

    def predict(self, X: ArrayLike) -> np.ndarray:
        """+1 for the inliers among X [N, D], -1 for outliers: [N]."""
        return np.where(self.decision_function(X) < 0, -1, 1)
