"""The closed table of activations that a specification can name."""

from collections.abc import Callable
from typing import Literal, get_args

import jax
from jax import Array

from ae_jax.spec import nearest

Activation = Literal[
    "relu", "leaky_relu", "elu", "selu", "gelu", "silu", "softplus", "sigmoid", "tanh", "linear"
]


def activation(name: Activation) -> Callable[[Array], Array]:
    """The function called `name`; `ValueError` for any other."""
    if name not in get_args(Activation):
        raise ValueError(f"activation={name!r}: {nearest(name, get_args(Activation))}")
    return (lambda x: x) if name == "linear" else getattr(jax.nn, name)
