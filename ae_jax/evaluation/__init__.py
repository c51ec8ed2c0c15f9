"""Measures of a trained autoencoder, and the linear models it is compared with."""

from ae_jax.evaluation.latents import latent_metrics
from ae_jax.evaluation.logistic_pca import LogisticPCA, fit_logistic_pca
from ae_jax.evaluation.pca import PCA, fit_pca

__all__ = ["PCA", "LogisticPCA", "fit_logistic_pca", "fit_pca", "latent_metrics"]
