"""The activations that a specification can name, and initial kernels for layers with them."""

import math
from collections.abc import Callable
from typing import Literal, get_args

import jax
from jax import Array
from jax.nn.initializers import Initializer, glorot_uniform, lecun_normal

from ae_jax.spec import nearest

Activation = Literal[
    "relu", "leaky_relu", "elu", "selu", "gelu", "silu", "softplus", "sigmoid", "tanh", "linear"
]

INCREASING = ("relu", "leaky_relu", "elu", "selu", "softplus", "sigmoid", "tanh", "linear")
"""The activations whose output never decreases as the input increases."""

RANGES: dict[str, tuple[float, float]] = {
    "relu": (0, math.inf),
    "leaky_relu": (-math.inf, math.inf),
    "elu": (-1, math.inf),
    "selu": (-1.7580993, math.inf),
    "gelu": (-0.1700408, math.inf),
    "silu": (-0.2784645, math.inf),
    "softplus": (0, math.inf),
    "sigmoid": (0, 1),
    "tanh": (-1, 1),
    "linear": (-math.inf, math.inf),
}
"""The values between which the output of each activation lies."""


def activation(name: Activation) -> Callable[[Array], Array]:
    """Return the activation function `name`; raises `ValueError` for an unknown name."""
    if name not in get_args(Activation):
        raise ValueError(f"activation={name!r}: {nearest(name, get_args(Activation))}")
    return (lambda x: x) if name == "linear" else getattr(jax.nn, name)


def kernel_init(name: Activation) -> Initializer:
    """Return the initializer for the kernel of a layer that this activation follows.

    It is LeCun's normal distribution for SELU and Glorot's uniform distribution for all others.
    LeCun's gives smaller kernels to a narrow layer, and some units of a narrow ReLU latent layer
    (784-32-784 on MNIST) then die in training: their output becomes 0 for every image.

    Source: Glorot & Bengio, Understanding the difficulty of training deep feedforward neural
    networks, 2010; Klambauer et al., Self-normalizing neural networks, 2017.
    """
    return lecun_normal() if name == "selu" else glorot_uniform()
