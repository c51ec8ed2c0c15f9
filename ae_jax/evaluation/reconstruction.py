"""Reconstruction figures over a whole data set, in the units that papers and libraries report."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from ae_jax import losses
from ae_jax.objective import Autoencoder, Variables, as_floats, reconstruction


def reconstruction_figures(
    ae: Autoencoder, variables: Variables, x: ArrayLike, *, batch_size: int = 1000
) -> dict[str, float]:
    """How well `ae` reconstructs `x` [N, *event_shape], without noise: means over examples.

    Returns:
      ``squared_error`` summed over an example, ``mse`` per element, ``psnr`` in dB for a peak of 1
      (of the mean of ``mse``) and, for models whose output is logits, ``bce`` in nats per element.
    """
    x = jnp.asarray(x)
    totals = jax.jit(partial(_totals, ae, batch_size=batch_size))(variables, x)
    count, size = len(x), x[0].size
    squared_error = float(totals["squared_error"]) / count
    figures = {"squared_error": squared_error, "mse": squared_error / size}
    if "bce" in totals:
        figures["bce"] = float(totals["bce"]) / (count * size)
    figures["psnr"] = float(-10.0 * jnp.log10(figures["mse"]))
    return figures


def _totals(
    ae: Autoencoder, variables: Variables, x: Array, *, batch_size: int
) -> dict[str, Array]:
    def one(row: Array) -> dict[str, Array]:
        target = as_floats(row[None])
        outputs: Any = ae.apply(variables, target)
        figures = {"squared_error": losses.mse(reconstruction(outputs), target)[0]}
        if "logits" in outputs:
            figures["bce"] = losses.bce(outputs["logits"], target)[0]
        return figures

    return jax.tree.map(jnp.sum, jax.lax.map(one, x, batch_size=batch_size))
