"""Denoising: how much noise the model removes, by kind and level, compared with filters."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from ae_jax import plots
from ae_jax.core import as_floats
from ae_jax.data.real import value_range
from ae_jax.evaluation.batches import some
from ae_jax.evaluation.denoising import (
    Kind,
    add_noise,
    best_widths,
    denoising_metrics,
    filtered,
)
from ae_jax.evaluation.reconstruction import mean_metrics, reconstruction_errors
from ae_jax.evaluation.tasks.subject import Result, Subject, skipping
from ae_jax.spec import require

DRAWN = 10  # examples
CONVENTIONS = {
    "examples": "number of test examples, evenly spaced, with the same noise for all methods",
    "clean psnr": "of the model's output without noise: dB for a peak of 1, of the mean mse",
    "clean ssim": "of the same: structural similarity (Wang et al. 2004), mean over examples",
    "psnr": "dB; rows: noise and its standard deviation (gaussian) or share of elements",
    "ssim": "likewise; masking sets elements to 0, salt_and_pepper to 0 or 1; clipped to [0, 1]",
    "filter widths": "standard deviation or side in pixels with the least mse on training images",
}
MEASURES = {"psnr": "PSNR (dB)", "ssim": "SSIM"}

Widths = Mapping[float, Mapping[str, float]]  # filter widths by level of noise


@dataclass(frozen=True, kw_only=True)
class Settings:
    noises: tuple[Kind, ...] = ("gaussian", "masking", "salt_and_pepper")
    levels: tuple[float, ...] = (0.1, 0.25, 0.5, 0.75)
    """Standard deviations of gaussian noise; shares of the elements for other kinds."""
    examples: int = 1000
    """Number of test examples, evenly spaced; the median filter is slow."""
    tuning: int = 100
    """Number of training examples on which the widths of the filters are chosen."""

    def __post_init__(self) -> None:
        require(bool(self.noises), "noises", self.noises, "give at least one")
        ok = bool(self.levels) and all(0 < level <= 1 for level in self.levels)
        require(ok, "levels", self.levels, "give at least one, each above 0 and at most 1")
        for name in ("examples", "tuning"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "must be at least 1")


def misfit(subject: Subject) -> str | None:
    if not subject.in_unit_interval:
        low, high = value_range(subject.test)
        limits = f"{subject.name} goes from {low:.8g} to {high:.8g}"
        return f"the noise is for data in [0, 1], and {limits}"
    return None


def measure(subject: Subject, settings: Settings) -> Result:
    ae, variables = subject.ae, subject.variables
    data, tuning = some(subject.test, settings.examples), some(subject.train, settings.tuning)
    tuning_key, key = jax.random.split(jax.random.key(subject.seed))
    errors = reconstruction_errors(ae, variables, data)
    with np.errstate(divide="ignore"):
        errors.setdefault("psnr", -10.0 * np.log10(errors["mse"]))  # the data lie in [0, 1]
    clean = mean_metrics(errors)
    measures = {name: unit for name, unit in MEASURES.items() if name in clean}
    metrics: dict[str, Any] = {"examples": len(data["x"])}
    metrics |= {f"clean {name}": clean[name] for name in measures}
    metrics |= {name: {} for name in measures}
    curves: dict[str, Any] = {unit: {} for unit in measures.values()}
    figures, skipped = {}, dict[str, str]()
    for noise in settings.noises:
        widths: Widths = {level: {} for level in settings.levels}
        if subject.are_images:
            widths = {x: best_widths(tuning["x"], tuning_key, noise=noise, level=x) for x in widths}
            with skipping(skipped, f"denoising-{noise}"):
                shown = {name: column[:DRAWN] for name, column in data.items()}
                figures[f"denoising-{noise}"] = _draw(subject, shown, key, noise, widths)
            chosen = {f"{noise} {level:g}": each for level, each in widths.items()}
            metrics["filter widths"] = metrics.get("filter widths", {}) | chosen
        levels = denoising_metrics(ae, variables, data, key, noise=noise, widths=widths)
        for name, unit in measures.items():
            rows = {x: {method: each[name] for method, each in levels[x].items()} for x in levels}
            metrics[name] |= {f"{noise} {level:g}": row for level, row in rows.items()}
            curves[unit][noise] = rows
    figures = {"denoising-curves": plots.noise_curves(curves), **figures}
    return Result(metrics, CONVENTIONS, figures, skipped)


def _draw(
    subject: Subject, data: Mapping[str, np.ndarray], key: jax.Array, noise: Kind, widths: Widths
) -> Figure:
    """Rows of noisy, reconstructed, filtered and clean images, for the median level of noise."""
    level = sorted(widths)[len(widths) // 2]
    clean = as_floats(data["x"])
    noisy = add_noise(key, clean, jnp.arange(len(clean)), level, noise=noise)
    columns = subject.ae.encoder_columns(data)
    recon = subject.ae.reconstruct(subject.variables, noisy, **columns)
    rows = {"noisy": noisy, "model": recon, **filtered(noisy, widths[level]), "clean": clean}
    title = f"{noise.replace('_', ' ')} noise, level {level:g}"
    return plots.image_rows({name: np.asarray(row) for name, row in rows.items()}, title=title)
