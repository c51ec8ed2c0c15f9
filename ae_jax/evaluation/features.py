"""The filters of a model's first layer."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from ae_jax.core import Autoencoder, Variables


def first_filters(ae: Autoencoder, variables: Variables) -> np.ndarray:
    """The weights of the encoder's first layer, one filter for each unit.

    The shape is [units, *event_shape] for a dense layer and [channels, kh, kw, C] for a
    convolution. The first layer is the module with a weight matrix that is executed first.

    Raises `ValueError` for layers that read only a part of an example at a time (recurrent ones).
    """
    if ae.given:
        raise ValueError(f"the first layer may read {', '.join(ae.given)} beside x: no filters")
    kernel = _first_kernel(ae, variables)
    if kernel.ndim == 4:
        return kernel.transpose(3, 0, 1, 2)
    if kernel.ndim == 2 and len(kernel) == np.prod(ae.event_shape):
        return kernel.T.reshape(-1, *ae.event_shape)
    raise ValueError(
        f"the first layer has weights of shape {kernel.shape} and reads a piece of an example of "
        f"shape {ae.event_shape} at a time: only dense and convolutional layers have filters"
    )


def _first_kernel(ae: Autoencoder, variables: Variables) -> np.ndarray:
    kernels: list[np.ndarray] = []

    def note(
        method: Callable[..., Any], args: Any, kwargs: Any, context: nn.module.InterceptorContext
    ) -> Any:
        own: Any = variables["params"]
        for name in context.module.path:
            own = own.get(name, {})
        kernels.extend(np.asarray(own[name]) for name in sorted(own) if np.ndim(own[name]) > 1)
        return method(*args, **kwargs)

    x = jnp.zeros((1, *ae.event_shape))
    with nn.intercept_methods(note):
        jax.eval_shape(lambda: ae.encode(variables, x))
    return kernels[0]
