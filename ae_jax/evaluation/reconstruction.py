"""Reconstruction metrics of a data set, in the units that papers and libraries report."""

from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from ae_jax import losses
from ae_jax.core import Autoencoder, Batch, Variables, event_mask, reconstruction
from ae_jax.evaluation.batches import BATCH, in_batches, real_rows
from ae_jax.evaluation.ssim import are_images, ssim

CONVENTIONS = {
    "squared_error": "squared error, summed over an example, mean over examples",
    "mse": "squared error, mean over elements and examples",
    "bce": "cross-entropy in nats, mean over elements and examples",
    "psnr": "dB, for a peak of 1, of the mean of mse",
    "ssim": "structural similarity (Wang et al. 2004), mean over examples",
}


def reconstruction_errors(
    ae: Autoencoder,
    variables: Variables,
    data: Mapping[str, np.ndarray],
    *,
    batch_size: int = BATCH,
) -> dict[str, np.ndarray]:
    """Reconstruction errors of each example of `data`, without noise: arrays [N] by name.

    ``squared_error`` is summed over the example, ``mse`` is per element, and ``psnr`` is in dB for
    a peak of 1. Models with logits have ``bce`` in nats per element, images have ``ssim``. Only the
    real steps of a sequence with a ``length`` count.
    """
    images = are_images(ae.target_shape)

    def errors(variables: Variables, batch: Batch) -> dict[str, Array]:
        x, where = batch[ae.target], event_mask(batch)
        outputs = ae.outputs(variables, batch)
        recon = reconstruction(outputs)
        mse = losses.mse(recon, x, reduction="mean", where=where)
        values = {
            "squared_error": losses.mse(recon, x, where=where),
            "mse": mse,
            "psnr": -10.0 * jnp.log10(mse),
        }
        if "logits" in outputs:
            values["bce"] = losses.bce(outputs["logits"], x, reduction="mean", where=where)
        if images:
            values["ssim"] = ssim(recon, x)
        return values

    result: dict[str, np.ndarray] = in_batches(errors, variables, data, batch_size=batch_size)
    return result


def reconstruct_all(
    ae: Autoencoder,
    variables: Variables,
    data: Mapping[str, np.ndarray],
    *,
    batch_size: int = BATCH,
) -> np.ndarray:
    """The reconstructions of `data`, without noise: [N, *target_shape]."""

    def fn(variables: Variables, batch: Batch) -> Array:
        return ae.reconstruct(variables, batch["x"], **ae.encoder_columns(batch))

    recon: np.ndarray = in_batches(fn, variables, data, batch_size=batch_size)
    return recon


def mean_metrics(errors: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Means of `reconstruction_errors` over the examples; see `CONVENTIONS`."""
    metrics = {name: float(np.mean(each, dtype=np.float64)) for name, each in errors.items()}
    with np.errstate(divide="ignore"):
        metrics["psnr"] = float(-10.0 * np.log10(metrics["mse"]))
    return metrics


def reconstruction_metrics(
    ae: Autoencoder,
    variables: Variables,
    data: ArrayLike | Mapping[str, np.ndarray],
    *,
    batch_size: int = BATCH,
) -> dict[str, float]:
    """The `mean_metrics` of the reconstructions of `data`: ``"x"`` [N, *event_shape] and what else
    the model reads. Rows that ``"mask"`` excludes do not count."""
    rows = real_rows(data)
    return mean_metrics(reconstruction_errors(ae, variables, rows, batch_size=batch_size))
