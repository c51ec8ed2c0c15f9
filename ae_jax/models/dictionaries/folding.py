"""A dictionary for inference alone: no statistics beside its weights, no batch in its threshold."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import jax.numpy as jnp
from jax import Array

from ae_jax.core import Autoencoder, Variables
from ae_jax.sparsifiers import BatchTopK, JumpReLU

SMALLEST = 1e-30  # the logarithm of a threshold of 0 is not finite


def folded(
    spec: Any, event_shape: Sequence[int], variables: Variables
) -> tuple[Autoencoder, dict[str, Any]]:
    """The same function of x, as a specification without `normalize` and its variables.

    `BatchTopK` becomes `JumpReLU` with the threshold that it learned. Activations are in the units
    of the data, or of the target: ``z`` of the result is the scale times ``z`` before.
    """
    params = dict(variables["params"])
    statistics: Mapping[str, Any] = variables.get("statistics", {})
    of_x = statistics.get("x_scale", jnp.float32(1.0))
    scale = statistics.get("target_scale", of_x)
    latents = dict(variables["latents"])
    params["bias"] = scale * params["bias"]
    if "encoder_bias" in params:
        params["encoder_bias"] = scale * params["encoder_bias"]
    if "encoder" in params:
        params["encoder"] = params["encoder"] * (scale / of_x)
    if "skip" in params:
        params["skip"] = params["skip"] * (scale / of_x)
    sparsifier, own = spec.sparsifier, dict(params.get("sparsifier", {}))
    of_sparsifier = dict(latents.pop("sparsifier", {}))
    if isinstance(sparsifier, BatchTopK):
        threshold = scale * of_sparsifier["threshold"] / _norms(spec, event_shape, params)
        own["log_threshold"] = jnp.log(jnp.maximum(threshold, SMALLEST))
        sparsifier, of_sparsifier = JumpReLU(), {}
    elif "log_threshold" in own:
        own["log_threshold"] = own["log_threshold"] + jnp.log(scale)
    if "magnitude_bias" in own:
        own["magnitude_bias"] = scale * own["magnitude_bias"]
    if own:
        params["sparsifier"] = own
    if of_sparsifier:
        latents["sparsifier"] = of_sparsifier
    prune = None if spec.prune is None else float(scale * spec.prune)
    new = replace(spec, sparsifier=sparsifier, normalize=False, prune=prune)
    return new.build(event_shape), {"params": params, "latents": latents}


def _norms(spec: Any, event_shape: Sequence[int], params: Mapping[str, Any]) -> Array:
    """The norms with which latents were compared: [W]."""
    if spec.unit_norm and not spec.sources:
        return jnp.ones(spec.width, jnp.float32)
    shape = event_shape if spec.sources else (params["decoder"].shape[1],)
    norms = jnp.linalg.norm(params["decoder"].reshape(spec.width, *shape), axis=-1)
    return norms.reshape(spec.width, -1).sum(1)
