"""Data sets as plain arrays: load them by name or from a file, and check your own arrays.

`load("digits", "train")` returns `{"x": [N, H, W, C] uint8, "label": [N] int32}`. `validated` turns
an array, or a mapping of arrays, into such a dict, or raises an error that says what is wrong.
`write_activations(layer_of(ae, variables, path), data, folder)` writes what a layer of a model, or
any other function, gives for a data set. `load(folder, "train")` reads it, however large it is.
`Generated` is data that is computed from row numbers where it is used, as that of `synthetic`.
TensorFlow Datasets and scikit-learn are imported only when a data set needs them.
"""

from ae_jax.data.activations import write_activations
from ae_jax.data.generated import Generated
from ae_jax.data.layers import layer_names, layer_of
from ae_jax.data.scan import check_activations
from ae_jax.data.sources import load
from ae_jax.data.validate import validated

__all__ = [
    "Generated",
    "check_activations",
    "layer_names",
    "layer_of",
    "load",
    "validated",
    "write_activations",
]
