"""Autoencoders as scikit-learn estimators: transformers, dense or sparse, and an outlier detector.

All train with `ae_jax.training.fit` and pass every check of scikit-learn's ``check_estimator``.
Each fit compiles its own train step. For many fits of one model (a grid search), a cache avoids
most of the repeated work: ``jax.config.update("jax_compilation_cache_dir", folder)``.
"""

from ae_jax.sklearn.dictionary import SparseDictionary
from ae_jax.sklearn.outlier import AutoencoderOutlierDetector
from ae_jax.sklearn.transformer import AutoencoderTransformer

__all__ = ["AutoencoderOutlierDetector", "AutoencoderTransformer", "SparseDictionary"]
