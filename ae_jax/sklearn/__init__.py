"""Autoencoders as scikit-learn estimators: a transformer, and an outlier detector.

Both train with `ae_jax.training.fit` and pass scikit-learn's ``check_estimator`` without exception.
Every fit compiles its own train step, which takes about a second: with many fits of one model (a
grid search) ``jax.config.update("jax_compilation_cache_dir", folder)`` saves what can be saved.
"""

from ae_jax.sklearn.outlier import AutoencoderOutlierDetector
from ae_jax.sklearn.transformer import AutoencoderTransformer

__all__ = ["AutoencoderOutlierDetector", "AutoencoderTransformer"]
