"""Reconstruction metrics over a whole data set, in the units that papers and libraries report."""

from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np
from jax import Array

from ae_jax import losses
from ae_jax.core import Autoencoder, Batch, Variables, event_mask, reconstruction
from ae_jax.evaluation.batches import BATCH, in_batches
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
    """How well each example of `data` is reconstructed, without noise: arrays [N].

    ``squared_error`` summed over the example; ``mse`` per element; ``psnr`` in dB for a peak of 1;
    for models whose output is logits ``bce`` in nats per element; for images ``ssim``. Of a
    sequence with a ``length``, only the real steps count.
    """
    images = are_images(ae.event_shape)

    def errors(variables: Variables, batch: Batch) -> dict[str, Array]:
        x, where = batch[ae.target], event_mask(batch)
        outputs = ae.outputs(variables, batch)
        recon = reconstruction(outputs)
        mse = losses.mse(recon, x, reduction="mean", where=where)
        found = {
            "squared_error": losses.mse(recon, x, where=where),
            "mse": mse,
            "psnr": -10.0 * jnp.log10(mse),
        }
        if "logits" in outputs:
            found["bce"] = losses.bce(outputs["logits"], x, reduction="mean", where=where)
        if images:
            found["ssim"] = ssim(recon, x)
        return found

    found: dict[str, np.ndarray] = in_batches(errors, variables, data, batch_size=batch_size)
    return found


def mean_metrics(errors: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Means over the examples of `reconstruction_errors`; see `CONVENTIONS`."""
    metrics = {name: float(np.mean(each, dtype=np.float64)) for name, each in errors.items()}
    with np.errstate(divide="ignore"):
        metrics["psnr"] = float(-10.0 * np.log10(metrics["mse"]))
    return metrics


def reconstruction_metrics(
    ae: Autoencoder, variables: Variables, x: np.ndarray, *, batch_size: int = BATCH
) -> dict[str, float]:
    """How well `ae` reconstructs `x` [N, *event_shape]: `mean_metrics` of its errors."""
    data = {"x": x}
    return mean_metrics(reconstruction_errors(ae, variables, data, batch_size=batch_size))
