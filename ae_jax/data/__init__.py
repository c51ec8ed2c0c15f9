"""Data sets as plain arrays: load them by name or by file, and check arrays of one's own.

`load("digits", "train")` gives `{"x": [N, H, W, C] uint8, "label": [N] int32}`; `validated` turns
any array, or mapping of arrays, into such a dict or says what is wrong with it. Importing this
package imports neither TensorFlow Datasets nor scikit-learn: only the sets that need them do.
"""

from ae_jax.data.sources import load
from ae_jax.data.validate import validated

__all__ = ["load", "validated"]
