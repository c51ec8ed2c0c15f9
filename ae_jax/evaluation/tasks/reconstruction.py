"""Reconstruction: mean errors, and the best, median and worst test examples."""

from dataclasses import dataclass

import numpy as np

from ae_jax import plots
from ae_jax.core import as_floats
from ae_jax.evaluation.reconstruction import CONVENTIONS, mean_metrics, reconstruction_errors
from ae_jax.evaluation.tasks.subject import Result, Subject

EACH = 5  # drawn examples of each kind: best, median and worst


@dataclass(frozen=True, kw_only=True)
class Settings:
    pass


def misfit(subject: Subject) -> str | None:
    return None


def measure(subject: Subject, settings: Settings) -> Result:
    errors = reconstruction_errors(subject.ae, subject.variables, subject.test)
    skipped: dict[str, str] = {}
    if not subject.in_unit_interval:
        for name in [name for name in ("psnr", "ssim") if name in errors]:
            del errors[name]
            skipped[name] = "is defined for data in [0, 1], and this data is not"
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
    rows = np.concatenate(list(chosen.values()))
    x = np.asarray(as_floats(subject.test["x"][rows]))
    chosen = {name: column[rows] for name, column in subject.test.items()}
    columns = subject.ae.encoder_columns(chosen)
    recon = np.asarray(subject.ae.reconstruct(subject.variables, chosen["x"], **columns))
    if len(x.shape) > 2 and not subject.are_images and x.shape[2:] != (1,):
        x, recon = x.reshape(len(x), -1), recon.reshape(len(x), -1)
    names = [name for name, rows in chosen.items() for _ in rows]
    figure = plots.reconstructions(x, recon, count=len(rows), labels=names)
    conventions = {name: about for name, about in conventions.items() if name in metrics}
    return Result(metrics, conventions, {"reconstruction-extremes": figure}, skipped)
