"""The models by the names that users know, with defaults that suit columns of scaled numbers."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from ae_jax.models import Contractive, Denoising, Model, Sparse, Tied, Vanilla, Variational
from ae_jax.networks import MLP
from ae_jax.spec import Spec, from_dict, nearest, require, to_dict

_COMMON: Any = {"network": MLP(widths=(256,)), "latent_dim": 16}
_LINEAR: Any = {**_COMMON, "loss": "mse", "latent_activation": "linear"}

MODELS: Mapping[str, Model] = MappingProxyType(
    {
        # Where the learned variance starts decides whether codes are used at all in a short
        # training. 1, that of standardized data, is too much for data in [0, 1]: of 16 codes on
        # the digits none was active after 20 epochs. 0.1 suits both.
        "vae": Variational(**_COMMON, likelihood="learned_gaussian", variance=0.1),
        "vanilla": Vanilla(**_LINEAR),
        "tied": Tied(**_LINEAR),
        # Gaussian noise is clipped to [0, 1], for pixels; 0 is the mean of standardized data.
        "denoising": Denoising(**_LINEAR, noise="masking", level=0.25),
        "sparse": Sparse(**{**_LINEAR, "latent_activation": "relu"}),
        # A linear code could shrink, and its Jacobian with it, for the decoder to grow instead.
        "contractive": Contractive(**{**_LINEAR, "latent_activation": "sigmoid"}),
    }
)
_LIKELIHOODS = {"mse": "learned_gaussian", "bce": "bernoulli"}


def specification(
    model: str | Spec,
    *,
    latent_dim: int | None = None,
    hidden_layer_sizes: Sequence[int] | None = None,
    loss: str | None = None,
) -> Any:
    """`model`, a name in `MODELS` or a specification, with what is not None in place of its own.

    Raises:
      ValueError: an unknown name or loss, a value that the model refuses, or hidden layers for a
        network that is not an MLP.
      TypeError: `model` is neither a name nor a specification.
    """
    if isinstance(model, str):
        if model not in MODELS:
            raise ValueError(f"model={model!r}: {nearest(model, MODELS)}")
        model = MODELS[model]
    elif not isinstance(model, Spec) or not hasattr(model, "build"):
        raise TypeError(
            f"model={model!r}: must be one of {', '.join(MODELS)}, or a specification, of "
            "ae_jax.models or your own"
        )
    # As plain data, which `from_dict` checks strictly. `tolist` is for the NumPy integers of grids.
    data = to_dict(model)
    if latent_dim is not None:
        owner = data if "latent_dim" in data else data.get("bottleneck", {})
        require("latent_dim" in owner, "latent_dim", latent_dim, "this model has no such option")
        owner["latent_dim"] = np.asarray(latent_dim).tolist()
    if hidden_layer_sizes is not None:
        network = data.get("network", {}).get("kind")
        if network != MLP.kind:
            raise ValueError(
                f"hidden_layer_sizes={hidden_layer_sizes!r}: the model's network is "
                f"{network}, not {MLP.kind}: remove them"
            )
        widths = np.asarray(hidden_layer_sizes).tolist()
        data["network"] |= {"widths": widths, "decoder_widths": None}
    if loss is not None and "loss" in data:
        data["loss"] = loss
    elif loss is not None:
        known = isinstance(data.get("likelihood"), str)
        require(known, "loss", loss, "choose it in the specification itself")
        require(loss in _LIKELIHOODS, "loss", loss, "a VAE is trained with one of mse, bce")
        data["likelihood"] = _LIKELIHOODS[loss]
    return from_dict(type(model), data, where="model")
