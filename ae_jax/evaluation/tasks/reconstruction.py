"""Reconstruction: mean errors, and the best, median and worst test examples."""

from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from ae_jax import plots
from ae_jax.core import as_floats
from ae_jax.data.real import blanked
from ae_jax.evaluation.reconstruction import (
    CONVENTIONS,
    mean_metrics,
    reconstruct_all,
    reconstruction_errors,
)
from ae_jax.evaluation.tasks.subject import Result, Subject, skipping

EACH = 5  # drawn examples of each kind: best, median and worst


@dataclass(frozen=True, kw_only=True)
class Settings:
    pass


def misfit(subject: Subject) -> str | None:
    return None


def measure(subject: Subject, settings: Settings) -> Result:
    errors = reconstruction_errors(subject.ae, subject.variables, subject.test)
    skipped: dict[str, str] = {}
    if "psnr" not in errors:
        skipped["psnr and ssim"] = "they are of images with values in [0, 1] or [-1, 1]"
    order = np.argsort(errors["squared_error"], kind="stable")
    middle = len(order) // 2
    spread = {
        name: {
            f"{share}%": float(np.percentile(each, share, method="nearest"))
            for share in (0, 5, 50, 95, 100)
        }
        for name, each in errors.items()
    }
    chosen = {
        "best": order[:EACH],
        "median": order[max(0, middle - EACH // 2) :][:EACH],
        "worst": order[::-1][:EACH],
    }
    means = mean_metrics(errors)
    metrics = {
        **{name: means[name] for name in means if name in errors},
        "percentiles": spread,
        **{f"{name}_examples": rows.tolist() for name, rows in chosen.items()},
    }
    conventions = CONVENTIONS | {
        "percentiles": "of the same metrics of single test examples",
        **{
            f"{name}_examples": "rows of the test split, ordered by squared error"
            for name in chosen
        },
    }
    names = [name for name, rows in chosen.items() for _ in rows]
    figures = {}
    with skipping(skipped, "reconstruction-extremes"):
        figure = _draw(subject, np.concatenate(list(chosen.values())), names)
        figures["reconstruction-extremes"] = figure
    conventions = {name: about for name, about in conventions.items() if name in metrics}
    return Result(metrics, conventions, figures, skipped)


def _draw(subject: Subject, rows: np.ndarray, names: list[str]) -> Figure:
    """Test examples and their reconstructions, without padded steps."""
    shown = {name: column[rows] for name, column in subject.test.items()}
    recon = blanked(reconstruct_all(subject.ae, subject.variables, shown), shown)
    x = blanked(np.asarray(as_floats(shown[subject.ae.target])), shown)
    if len(x.shape) > 2 and not subject.are_images and x.shape[2:] != (1,):
        x, recon = x.reshape(len(x), -1), recon.reshape(len(x), -1)
    return plots.reconstructions(x, recon, count=len(rows), labels=names)
