"""Greedy layer-by-layer training of a deep autoencoder, each layer by the ordinary `fit`."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import optax
from jax.typing import ArrayLike

from ae_jax.core import Autoencoder
from ae_jax.data import validated
from ae_jax.models import Tied, Vanilla
from ae_jax.networks import MLP
from ae_jax.networks.activations import Activation
from ae_jax.spec import require
from ae_jax.training.fit import Callback, fit


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
    """Parameters of `ae`, each layer of which was trained on the codes of the layers before it.

    Stage i is a shallow autoencoder: layer i of the encoder, and its mirror image in the decoder.
    The first has the model's own loss and output. The others reconstruct codes, by squared error,
    and their output has the activation of the hidden layers, as in the deep model. No stage moves
    the layers of another. To fine-tune: ``fit(ae, x, params=fit_greedy(ae, x, ...), ...)``.

    Args:
      ae: built from a `Vanilla` or `Tied` on a dense network, mirrored.
      x: examples [N, *event_shape], uint8 or float.
      epochs: for each stage.
      seed: of stage 0; stage i takes ``seed + i``.
      batch_size, optimizer, callbacks: of each stage, see `fit`.

    Raises:
      ValueError, TypeError: for another kind of model, and for what `fit` refuses.

    Source: Bengio et al., Greedy layer-wise training of deep networks, 2007.
    """
    codes: ArrayLike = validated(x)["x"]
    shape, stages = ae.event_shape, []
    for i, spec in enumerate(_stage_specs(ae)):
        stage = replace(spec.build(shape), dtype=ae.dtype)
        state, _ = fit(
            stage,
            codes,
            epochs=epochs,
            batch_size=batch_size,
            optimizer=optimizer,
            seed=seed + i,
            callbacks=callbacks,
        )
        codes = stage.encode(state.variables, codes)
        shape = codes.shape[1:]
        stages.append(state.params)
    if isinstance(ae.spec, Tied):
        names = ("kernel", "bias", "decoder_bias")
        return {f"{name}_{i}": p[f"{name}_0"] for name in names for i, p in enumerate(stages)}
    decoders = [params["decoder"]["Dense_0"] for params in reversed(stages)]
    return dense_params([params["code"] for params in stages], decoders)


def mirrored_dense(
    ae: Autoencoder, *kinds: type[Vanilla]
) -> tuple[Vanilla, Activation, tuple[int, ...]]:
    """`ae`'s specification, its hidden activation, and its widths down to the code's.

    Raises `ValueError` unless it is one of `kinds`, on a dense network that is mirrored.
    """
    spec = ae.spec
    if type(spec) not in kinds or not isinstance(spec.network, MLP):
        names = " or ".join(kind.__name__ for kind in kinds)
        raise ValueError(f"ae.spec={spec!r}: must be a {names} on a MLP network")
    network = spec.network
    mirrored = network.decoder_widths in (None, network.widths[::-1])
    require(mirrored, "decoder_widths", network.decoder_widths, "must mirror widths")
    return spec, network.activation, (*network.widths, spec.latent_dim)


def dense_params(down: Sequence[Any], up: Sequence[Any]) -> dict[str, Any]:
    """Parameters of a `Vanilla` on `MLP` from its layers, ``{"kernel", "bias"}`` each.

    `down` goes from the input to the code, `up` from the code to the output.
    """
    *encoder, code = down
    params = {"code": code, "decoder": {f"Dense_{i}": layer for i, layer in enumerate(up)}}
    if encoder:  # an encoder without layers has no parameters, nor a place among them
        params["encoder"] = {f"Dense_{i}": layer for i, layer in enumerate(encoder)}
    return params


def _stage_specs(ae: Autoencoder) -> list[Vanilla]:
    """The shallow autoencoder of each layer."""
    spec, hidden, widths = mirrored_dense(ae, Vanilla, Tied)
    stages = [replace(spec, network=MLP(), latent_dim=w, latent_activation=hidden) for w in widths]
    stages[-1] = replace(stages[-1], latent_activation=spec.latent_activation)
    return stages[:1] + [replace(s, loss="mse", output_activation=hidden) for s in stages[1:]]
