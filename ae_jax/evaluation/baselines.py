"""What every autoencoder should beat: PCA of its size, and the mean of the training data."""

from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np
from jax import Array

from ae_jax import losses
from ae_jax.core import Autoencoder, Batch, Variables, event_mask
from ae_jax.data.real import counted, real_rows
from ae_jax.evaluation.batches import in_batches, some
from ae_jax.evaluation.latents import activity_metrics, encode_all
from ae_jax.evaluation.likelihood import posterior_metrics
from ae_jax.evaluation.logistic_pca import LogisticPCA
from ae_jax.evaluation.pca import PCA, fit_mean, fit_pca
from ae_jax.evaluation.reconstruction import mean_metrics, reconstruction_errors

TRAIN, TEST = 10_000, 2_000  # rows, at most
ELEMENTS = 1024  # of an example: the cost of PCA grows with their cube
CLOSE = 0.01  # errors that differ by less count as equal


def linear_errors(
    model: PCA | LogisticPCA, data: Mapping[str, np.ndarray], *, peak: float | None = None
) -> dict[str, np.ndarray]:
    """Errors [N] of each example of `data` as in `reconstruction_errors`, of a linear model:
    ``squared_error``, ``mse``, and with a `peak` ``psnr``."""

    def errors(model: PCA | LogisticPCA, batch: Batch) -> dict[str, Array]:
        x, where = batch["x"], event_mask(batch)
        recon = model.decode(model.encode(x))
        mse = losses.mse(recon, x, reduction="mean", where=where)
        values = {"squared_error": losses.mse(recon, x, where=where), "mse": mse}
        return values if peak is None else values | {"psnr": -10.0 * jnp.log10(mse / peak**2)}

    result: dict[str, np.ndarray] = in_batches(errors, model, data)
    return result


def weaknesses(
    ae: Autoencoder,
    variables: Variables,
    train: Mapping[str, np.ndarray],
    test: Mapping[str, np.ndarray],
) -> list[str]:
    """A line for each sign that a model has learned little, of at most 2000 test examples.

    At least half of its latents are inactive; or its squared error is no better than that of the
    mean of the training data, or worse than that of PCA with as many components, both fitted to at
    most 10,000 training examples. PCA is skipped for examples of more than 1024 elements.

    Raises `ValueError` or `TypeError` for data that `fit` would refuse.
    """
    train, test = some(real_rows(train), TRAIN), some(real_rows(test), TEST)
    train, test = counted(train), counted(test, like=train)
    lines, size = [], 0
    if ae.method("encode") is not None:
        z = encode_all(ae, variables, test)
        size = z.shape[1]
        active = size - round(size * activity_metrics(z)["dead_units"])
        if ae.method("log_weight") is not None:
            active = posterior_metrics(ae, variables, test).get("active_units", size)
        if len(z) > 1 and 2 * active <= size:
            lines.append(f"few latents are active: {active} of {size}")
    if ae.target != "x":
        return lines
    error = mean_metrics(reconstruction_errors(ae, variables, test))["mse"]
    mean = _error(fit_mean(train["x"]), test)
    numbers = "squared error {:.4g} per element, against {:.4g}"
    if not error < mean * (1 - CLOSE):
        what = "no better than predicting the mean of the training data"
        return [*lines, f"{what}: {numbers.format(error, mean)}"]
    elements = train["x"][0].size
    if 0 < size < min(elements, len(train["x"])) and elements <= ELEMENTS:
        pca = _error(fit_pca(train["x"], size), test)
        if not error < pca * (1 + CLOSE) + 1e-12:
            what = f"worse than PCA with {size} components"
            lines.append(f"{what}: {numbers.format(error, pca)}")
    return lines


def _error(model: PCA, data: Mapping[str, np.ndarray]) -> float:
    return mean_metrics(linear_errors(model, data))["mse"]
