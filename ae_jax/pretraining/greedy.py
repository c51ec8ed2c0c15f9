"""Greedy layer-by-layer training of a deep autoencoder, each layer by the ordinary `fit`."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import optax
from jax.typing import ArrayLike

from ae_jax.bottlenecks import Linear
from ae_jax.core import Autoencoder
from ae_jax.data import validated
from ae_jax.likelihoods import Error
from ae_jax.models import AE
from ae_jax.networks import MLP
from ae_jax.spec import require
from ae_jax.training import Callback, fit


def fit_greedy(
    ae: Autoencoder,
    x: ArrayLike,
    *,
    epochs: int,
    batch_size: int = 256,
    optimizer: optax.GradientTransformation | float = 1e-3,
    seed: int = 0,
    callbacks: Sequence[Callback] = (),
) -> dict[str, Any]:
    """Parameters of `ae`, each layer of which was trained on the latents of the layers before it.

    Stage i is a shallow autoencoder: layer i of the encoder, and its mirror image in the decoder.
    The first has the model's own loss and output. The others reconstruct latents, by squared error,
    and their output has the activation of the hidden layers, as in the deep model. No stage moves
    the layers of another. To fine-tune: ``fit(ae, x, params=fit_greedy(ae, x, ...), ...)``.

    Args:
      ae: built from a `Vanilla` or `Tied` on a mirrored MLP.
      x: examples [N, *event_shape], uint8 or float.
      epochs: for each stage.
      seed: of stage 0; stage i takes ``seed + i``.
      batch_size, optimizer, callbacks: of each stage, see `fit`.

    Raises:
      ValueError, TypeError: for another kind of model, and for what `fit` refuses.

    Source: Bengio et al., Greedy layer-wise training of deep networks, 2007.
    """
    parts = plain_mlp(ae)
    latents: ArrayLike = validated(x)["x"]
    shape, stages = ae.event_shape, []
    for i, spec in enumerate(_stages(parts)):
        stage = replace(spec.build(shape), dtype=ae.dtype)
        state, _ = fit(
            stage,
            latents,
            epochs=epochs,
            batch_size=batch_size,
            optimizer=optimizer,
            seed=seed + i,
            callbacks=callbacks,
        )
        latents = stage.encode(state.variables, latents)
        shape = np.shape(latents)[1:]
        stages.append(state.params)
    if parts.tied:
        names = ("kernel", "bias", "decoder_bias")
        return {f"{name}_{i}": p[f"{name}_0"] for name in names for i, p in enumerate(stages)}
    decoders = [params["decoder"]["Dense_0"] for params in reversed(stages)]
    return dense_params([params["code"] for params in stages], decoders)


def plain_mlp(ae: Autoencoder) -> AE:
    """The skeleton of `ae`, which must be a plain autoencoder on a mirrored `MLP`.

    Raises `ValueError` for another network, a stochastic bottleneck, noise or a penalty.
    """
    parts = ae.spec.parts() if hasattr(ae.spec, "parts") else ae.spec
    ok = isinstance(parts, AE) and isinstance(parts.network, MLP)
    ok = ok and isinstance(parts.bottleneck, Linear) and isinstance(parts.likelihood, Error)
    if not ok or parts.corruption is not None or parts.penalties:
        raise ValueError(
            f"ae.spec={ae.spec!r}: must be a plain autoencoder on an MLP, without noise or "
            "penalties, such as a Vanilla"
        )
    mirrored = parts.network.decoder_widths in (None, parts.network.widths[::-1])
    require(mirrored, "decoder_widths", parts.network.decoder_widths, "must mirror widths")
    return parts


def layer_widths(parts: AE) -> tuple[int, ...]:
    """The widths of the encoder's layers, down to the latents."""
    assert isinstance(parts.network, MLP) and parts.bottleneck.latent_dim is not None
    return (*parts.network.widths, parts.bottleneck.latent_dim)


def dense_params(down: Sequence[Any], up: Sequence[Any]) -> dict[str, Any]:
    """Parameters of a `Vanilla` on `MLP` from its layers, ``{"kernel", "bias"}`` each.

    `down` goes from the input to the code, `up` from the code to the output.
    """
    *encoder, code = down
    params = {"code": code, "decoder": {f"Dense_{i}": layer for i, layer in enumerate(up)}}
    if encoder:  # an encoder without layers has no parameters, nor a place among them
        params["encoder"] = {f"Dense_{i}": layer for i, layer in enumerate(encoder)}
    return params


def _stages(parts: AE) -> list[AE]:
    """The shallow autoencoder of each layer."""
    assert isinstance(parts.network, MLP) and isinstance(parts.likelihood, Error)
    hidden = parts.network.activation
    stages = [
        replace(
            parts,
            network=MLP(),
            bottleneck=Linear(latent_dim=width, activation=hidden),
            likelihood=replace(parts.likelihood, loss="mse", output_activation=hidden),
        )
        for width in layer_widths(parts)
    ]
    stages[0] = replace(stages[0], likelihood=parts.likelihood)
    stages[-1] = replace(stages[-1], bottleneck=parts.bottleneck)
    return stages
