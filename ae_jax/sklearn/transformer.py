"""Codes as features: dimensionality reduction with an autoencoder."""

import math
from typing import Any

import jax
import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_array, check_is_fitted

from ae_jax.sklearn.base import AutoencoderEstimator
from ae_jax.sklearn.programs import in_chunks


class AutoencoderTransformer(
    ClassNamePrefixFeaturesOutMixin, TransformerMixin, AutoencoderEstimator
):
    """Rows X [N, D] to codes [N, latent_dim] and back, both float32.

    The code of a VAE is the posterior's mean, and a spatial code is flattened. Parameters and
    attributes are those of `AutoencoderEstimator`.
    """

    def transform(self, X: ArrayLike) -> np.ndarray:
        """The codes of X [N, D], without noise: [N, latent_dim]."""
        events = self._events(X)
        codes = in_chunks(self._programs().encode, self.variables_, events)
        return codes.reshape(len(codes), -1)

    def inverse_transform(self, Z: ArrayLike) -> np.ndarray:
        """The reconstructions of codes Z [N, latent_dim], in the units of the data: [N, D]."""
        check_is_fitted(self)
        codes = check_array(Z, dtype=np.float32, input_name="Z")
        if codes.shape[1] != self._n_features_out:
            raise ValueError(
                f"Z has {codes.shape[1]} columns; the codes of this model have "
                f"{self._n_features_out}"
            )
        codes = codes.reshape(-1, *self._code_shape)
        rows = in_chunks(self._programs().decode, self.variables_, codes)
        return rows.reshape(len(rows), -1)

    def score(self, X: ArrayLike, y: Any = None) -> float:
        """The mean of `score_samples`: what a grid search without a supervised end looks at.

        Models of one kind of loss compare; an ELBO and an error, or two losses, do not.
        """
        return float(self.score_samples(X).mean())

    @property
    def _code_shape(self) -> tuple[int, ...]:
        event = jax.ShapeDtypeStruct((1, *self.event_shape_), np.float32)
        return jax.eval_shape(self._programs().encode, self.variables_, event).shape[1:]

    @property
    def _n_features_out(self) -> int:
        return math.prod(self._code_shape)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags
