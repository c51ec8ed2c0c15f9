"""How much noise a model removes, compared with a Gaussian and a median filter."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike
from scipy import ndimage

from ae_jax import losses
from ae_jax.core import Autoencoder, Batch, Variables, as_floats, event_mask
from ae_jax.data.real import real_rows
from ae_jax.evaluation.batches import BATCH, checked
from ae_jax.evaluation.reconstruction import mean_metrics
from ae_jax.evaluation.ssim import are_images, ssim
from ae_jax.models.corruption import corrupt

Kind = Literal["gaussian", "masking", "salt_and_pepper"]


class Filter(NamedTuple):
    """A function ``apply(images [B, H, W, C], width)`` and the candidate widths, in pixels."""

    apply: Callable[[np.ndarray, float], np.ndarray]
    widths: Sequence[float]


def gaussian_filter(x: np.ndarray, width: float) -> np.ndarray:
    """Images [B, H, W, C] smoothed by a Gaussian of standard deviation `width`."""
    smooth: np.ndarray = ndimage.gaussian_filter(x, (0, width, width, 0))
    return smooth


def median_filter(x: np.ndarray, width: float) -> np.ndarray:
    """Images [B, H, W, C] filtered by the median over `width` by `width` pixels."""
    middle: np.ndarray = ndimage.median_filter(x, (1, int(width), int(width), 1))
    return middle


FILTERS = {
    "gaussian filter": Filter(gaussian_filter, (0.3, 0.5, 0.75, 1.0, 1.5, 2.0)),
    "median filter": Filter(median_filter, (3, 5, 7)),
}


@partial(jax.jit, static_argnames="noise")
def add_noise(key: Array, x: Array, rows: Array, level: float, *, noise: Kind) -> Array:
    """`x` [B, ...] in [0, 1] with noise (see `corrupt`).

    The noise of an example depends on `key` and its row number in `rows` [B], not on the batch.
    """

    def one(row: Array, x: Array) -> Array:
        return corrupt(jax.random.fold_in(key, row), x, noise=noise, level=level)

    return jax.vmap(one)(rows, x)


def best_widths(x: np.ndarray, key: Array, *, noise: Kind, level: float) -> dict[str, float]:
    """For each filter the width with the least squared error on the images `x` [N, H, W, C]."""
    clean = np.asarray(as_floats(x))
    noisy = np.asarray(add_noise(key, clean, jnp.arange(len(x)), level, noise=noise))

    def error(filter: Filter, width: float) -> float:
        return float(np.square(filter.apply(noisy, width) - clean).mean())

    return {
        name: min(filter.widths, key=partial(error, filter)) for name, filter in FILTERS.items()
    }


def filtered(x: ArrayLike, widths: Mapping[str, float]) -> dict[str, np.ndarray]:
    """The images `x` [B, H, W, C] after each filter in `widths`, by its name."""
    return {name: FILTERS[name].apply(np.asarray(x), width) for name, width in widths.items()}


def denoising_metrics(
    ae: Autoencoder,
    variables: Variables,
    data: Mapping[str, np.ndarray],
    key: Array,
    *,
    noise: Kind,
    widths: Mapping[float, Mapping[str, float]],
    batch_size: int = BATCH,
) -> dict[float, dict[str, dict[str, float]]]:
    """Distances to `data` of the noisy input, of the model's output, and of filtered images.

    Args:
      ae: any model. Its output is the reconstruction of the noisy input, without further noise.
      data: ``"x"`` [N, *event_shape] in [0, 1] or uint8, maybe with ``"length"`` [N]: then only the
        real steps of a sequence count. Rows that ``"mask"`` excludes do not.
      key: key of the noise, which is the same for all methods.
      noise: kind of noise, see `corrupt`.
      widths: the widths of the filters for each level of noise (see `best_widths`); empty for data
        that is not images.

    Returns:
      ``{level: {"noisy" | "model" | filter: {"mse", "psnr", "ssim"}}}`` as in `mean_metrics`, with
      ssim only for images.
    """
    data = real_rows(checked(ae, data))
    images = are_images(ae.event_shape) and "length" not in data
    reconstruct = jax.jit(ae.reconstruct)

    @jax.jit
    def errors(x: Array, batch: Batch) -> dict[str, Array]:
        mse = losses.mse(x, batch["x"], reduction="mean", where=event_mask(batch))
        values = {"mse": mse, "psnr": -10.0 * jnp.log10(mse)}
        return values | {"ssim": ssim(x, batch["x"])} if images else values

    def parts(level: float) -> Iterator[dict[str, dict[str, np.ndarray]]]:
        for first in range(0, len(data["x"]), batch_size):
            batch = {k: jnp.asarray(v[first : first + batch_size]) for k, v in data.items()}
            batch["x"] = as_floats(batch["x"])
            rows = first + jnp.arange(len(batch["x"]))
            noisy = add_noise(key, batch["x"], rows, level, noise=noise)
            recon = reconstruct(variables, noisy, **ae.encoder_columns(batch))
            outputs = {"noisy": noisy, "model": recon, **filtered(noisy, widths[level])}
            yield {name: jax.device_get(errors(x, batch)) for name, x in outputs.items()}

    metrics: dict[float, dict[str, dict[str, float]]] = {}
    for level in widths:
        batches = list(parts(level))
        for name in batches[0]:
            joined = jax.tree.map(lambda *a: np.concatenate(a), *(batch[name] for batch in batches))
            metrics.setdefault(level, {})[name] = mean_metrics(joined)
    return metrics
