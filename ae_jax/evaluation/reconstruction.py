"""Reconstruction metrics of a data set, in the units that papers and libraries report."""

from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from ae_jax import losses
from ae_jax.core import Autoencoder, Batch, Variables, event_mask, reconstruction
from ae_jax.data.real import UNIT, real_rows, value_range, within
from ae_jax.evaluation.batches import BATCH, checked, in_batches, of_examples
from ae_jax.evaluation.ssim import are_images, ssim

RANGES = (UNIT, (-1.0, 1.0))
"""Of images, as data sets have them."""
CONVENTIONS = {
    "squared_error": "squared error, summed over an example, mean over examples",
    "mse": "squared error, mean over elements and examples",
    "bce": "cross-entropy in nats, mean over elements and examples",
    "psnr": "dB, of the mean of mse; the peak is 1, or 2 for images in [-1, 1]",
    "ssim": "structural similarity (Wang et al. 2004), mean over examples",
}


def pixel_range(ae: Autoencoder, data: Mapping[str, np.ndarray]) -> tuple[float, float] | None:
    """The range of pixels, which PSNR and SSIM are relative to: (0, 1), or (-1, 1) for images that
    need it. None for floats that are no images, or lie in neither."""
    values = value_range(data, ae.target)
    if data[ae.target].dtype != np.uint8 and not are_images(ae.target_shape):
        return None
    return next((limits for limits in RANGES if within(values, limits)), None)


def reconstruction_errors(
    ae: Autoencoder,
    variables: Variables,
    data: Mapping[str, np.ndarray],
    *,
    batch_size: int = BATCH,
) -> dict[str, np.ndarray]:
    """Reconstruction errors of each example of `data`, without noise: arrays [N] by name.

    ``squared_error`` is summed over the example, ``mse`` is per element. Pixels (see `pixel_range`)
    have ``psnr`` in dB, and images ``ssim``. Models with logits have ``bce`` in nats per element,
    for data in [0, 1]. Only the real steps of a sequence with a ``length`` count.

    Raises `ValueError` or `TypeError` for data that `fit` would refuse.
    """
    data = checked(ae, data)
    if ae.target not in data:
        raise ValueError(f"the model reconstructs {ae.target!r}, which the data lacks")
    pixels = pixel_range(ae, data)
    images = are_images(ae.target_shape) and "length" not in data
    shares = within(value_range(data, ae.target), UNIT)

    def errors(variables: Variables, batch: Batch) -> dict[str, Array]:
        x, where = batch[ae.target], event_mask(batch)
        outputs = ae.outputs(variables, batch)
        recon = reconstruction(outputs)
        mse = losses.mse(recon, x, reduction="mean", where=where)
        values = {
            "squared_error": losses.mse(recon, x, where=where),
            "mse": mse,
        }
        if "logits" in outputs and "recon" not in outputs and shares:
            values["bce"] = losses.bce(outputs["logits"], x, reduction="mean", where=where)
        if pixels is not None:
            low, peak = pixels[0], pixels[1] - pixels[0]
            values["psnr"] = -10.0 * jnp.log10(mse / peak**2)
            if images:
                values["ssim"] = ssim((recon - low) / peak, (x - low) / peak)
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

    recon: np.ndarray = of_examples(fn, ae, variables, data, batch_size=batch_size)
    return recon


def mean_metrics(errors: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Means of `reconstruction_errors` over the examples; see `CONVENTIONS`."""
    metrics = {name: float(np.mean(each, dtype=np.float64)) for name, each in errors.items()}
    if "psnr" in errors:  # of the mean error
        with np.errstate(divide="ignore"):
            mean = np.mean(10.0 ** (-np.float64(errors["psnr"]) / 10))
            metrics["psnr"] = float(-10.0 * np.log10(mean))
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
