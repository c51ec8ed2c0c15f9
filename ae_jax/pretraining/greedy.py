"""Greedy layer-by-layer pretraining of a deep autoencoder: one call of `fit` for each layer."""

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
    """Return parameters of `ae` that were trained layer by layer.

    Stage i trains a shallow autoencoder: layer i of the encoder and its mirror image in the
    decoder. Stage 0 has the loss and the output of `ae`. Each later stage reconstructs the latents
    of the stage before it, by squared error, and its output has the activation of the hidden
    layers, as in `ae`. A stage does not change the layers of the others. To fine-tune the result:
    ``fit(ae, x, params=fit_greedy(ae, x, ...), ...)``.

    Args:
      ae: a model of the specification `Vanilla` or `Tied` with a mirrored MLP.
      x: examples [N, *event_shape], uint8 or float.
      epochs: epochs of each stage.
      seed: seed of stage 0; stage i has ``seed + i``.
      batch_size, optimizer, callbacks: settings of each stage (see `fit`).

    Raises:
      ValueError, TypeError: another kind of model, or an error of `fit`.

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
    """Return the parts of `ae`, which must be a plain autoencoder with a mirrored `MLP`.

    Raises `ValueError` for another network, a stochastic bottleneck, noise or a penalty.
    """
    parts = ae.spec.parts() if hasattr(ae.spec, "parts") else ae.spec
    ok = isinstance(parts, AE) and isinstance(parts.network, MLP)
    ok = ok and isinstance(parts.bottleneck, Linear) and isinstance(parts.likelihood, Error)
    if not ok or parts.corruption is not None or parts.penalties:
        raise ValueError(
            f"ae.spec={ae.spec!r}: must be a plain autoencoder with an MLP, without noise or "
            "penalties, such as Vanilla()"
        )
    mirrored = parts.network.decoder_widths in (None, parts.network.widths[::-1])
    require(mirrored, "decoder_widths", parts.network.decoder_widths, "must mirror widths")
    needs = "must be False: a pretrained layer has no gate"
    require(not parts.network.gated, "gated", parts.network.gated, needs)
    return parts


def layer_widths(parts: AE) -> tuple[int, ...]:
    """Return the widths of the encoder's layers, from the first to the latents."""
    assert isinstance(parts.network, MLP) and parts.bottleneck.latent_dim is not None
    return (*parts.network.widths, parts.bottleneck.latent_dim)


def dense_params(down: Sequence[Any], up: Sequence[Any]) -> dict[str, Any]:
    """Return the parameters of a `Vanilla` with an `MLP` from its layers.

    Each layer is ``{"kernel", "bias"}``. `down` lists the layers from the input to the latents, and
    `up` those from the latents to the output.
    """
    *encoder, latent = down
    params = {"code": latent, "decoder": {f"Dense_{i}": layer for i, layer in enumerate(up)}}
    if encoder:  # an encoder without layers has no entry
        params["encoder"] = {f"Dense_{i}": layer for i, layer in enumerate(encoder)}
    return params


def _stages(parts: AE) -> list[AE]:
    """Return the specification of each stage's shallow autoencoder."""
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
