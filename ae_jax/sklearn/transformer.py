"""Dimensionality reduction with an autoencoder: its latents as features."""

from typing import Any

import jax
import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_array, check_is_fitted

from ae_jax.core import refuse_masked
from ae_jax.sklearn.base import AutoencoderEstimator
from ae_jax.sklearn.programs import in_chunks


class AutoencoderTransformer(
    ClassNamePrefixFeaturesOutMixin, TransformerMixin, AutoencoderEstimator
):
    """A transformer from rows X [N, D] to latents [N, latent_dim] and back, both float32.

    The latents of a VAE are the mean of the posterior. Spatial latents are flattened. Parameters
    and attributes are those of `AutoencoderEstimator`.
    """

    def transform(self, X: ArrayLike) -> np.ndarray:
        """Return the latents [N, latent_dim] of X [N, D], without noise."""
        events = self._events(X)
        return in_chunks(self._programs().encode, self.variables_, events)

    def inverse_transform(self, Z: ArrayLike) -> np.ndarray:
        """Return the reconstructions [N, D] of latents Z [N, latent_dim], in the data's units.

        Raises `ValueError` if Z has another number of columns.
        """
        check_is_fitted(self)
        refuse_masked(Z, "Z")
        latents = check_array(Z, dtype=np.float32, input_name="Z")
        if latents.shape[1] != self._n_features_out:
            raise ValueError(
                f"Z has {latents.shape[1]} columns; this model has {self._n_features_out} latents"
            )
        rows = in_chunks(self._programs().decode, self.variables_, latents)
        return rows.reshape(len(rows), -1)

    def score(self, X: ArrayLike, y: Any = None) -> float:
        """Return the mean of `score_samples`, the criterion of a grid search without labels.

        Compare only models with the same loss: an ELBO and a reconstruction error, or two different
        losses, are not comparable.
        """
        return float(self.score_samples(X).mean())

    @property
    def _n_features_out(self) -> int:
        event = jax.ShapeDtypeStruct((1, *self.event_shape_), np.float32)
        return jax.eval_shape(self._programs().encode, self.variables_, event).shape[1]

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags
