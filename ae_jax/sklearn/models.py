"""Models by name, with defaults for columns of scaled numbers."""

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
        # With a large initial variance a short training uses no latents. That of standardized
        # data, 1, is too large for data in [0, 1]; 0.1 suits both.
        "vae": Variational(**_COMMON, likelihood="learned_gaussian", variance=0.1),
        "vanilla": Vanilla(**_LINEAR),
        "tied": Tied(**_LINEAR),
        # Gaussian noise clips to [0, 1], the range of pixels. Masking suits standardized data,
        # because 0 is its mean.
        "denoising": Denoising(**_LINEAR, noise="masking", level=0.25),
        "sparse": Sparse(**{**_LINEAR, "latent_activation": "relu"}),
        # Linear latents could reduce the penalty on their Jacobian by shrinking, while the decoder
        # grows.
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
    """Return the specification of `model`, with each option that is not None replaced.

    Args:
      model: a name in `MODELS`, or a specification.
      latent_dim: number of latents.
      hidden_layer_sizes: widths of the encoder's MLP, mirrored in the decoder.
      loss: name of the reconstruction loss; "mse" or "bce" for a VAE.

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
            f"model={model!r}: must be one of {', '.join(MODELS)}, or a specification of "
            "ae_jax.models or of your own"
        )
    # Plain data, because `from_dict` checks it strictly. `tolist` converts the NumPy integers of a
    # grid search.
    data = to_dict(model)
    if latent_dim is not None:
        owner = data if "latent_dim" in data else data.get("bottleneck", {})
        require("latent_dim" in owner, "latent_dim", latent_dim, "this model has no latent_dim")
        owner["latent_dim"] = np.asarray(latent_dim).tolist()
    if hidden_layer_sizes is not None:
        network = data.get("network", {}).get("kind")
        if network != MLP.kind:
            raise ValueError(
                f"hidden_layer_sizes={hidden_layer_sizes!r}: the model's network is {network}, not "
                f"{MLP.kind}: set its sizes in the specification"
            )
        widths = np.asarray(hidden_layer_sizes).tolist()
        data["network"] |= {"widths": widths, "decoder_widths": None}
    if loss is not None and "loss" in data:
        data["loss"] = loss
    elif loss is not None:
        known = isinstance(data.get("likelihood"), str)
        require(known, "loss", loss, "set it in the specification of the model")
        require(loss in _LIKELIHOODS, "loss", loss, "must be mse or bce for a VAE")
        data["likelihood"] = _LIKELIHOODS[loss]
    return from_dict(type(model), data, where="model")
