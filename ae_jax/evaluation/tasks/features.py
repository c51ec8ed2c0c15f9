"""Learned features: filters of the first layer, activity of units, accuracy with few labels."""

import math
from dataclasses import dataclass
from typing import Any, Literal

import jax
import numpy as np

from ae_jax import plots
from ae_jax.core import as_floats
from ae_jax.data.real import drawn_range
from ae_jax.evaluation.batches import some
from ae_jax.evaluation.features import first_filters
from ae_jax.evaluation.few_labels import few_label_accuracy
from ae_jax.evaluation.latents import NEAR_ZERO, activity_metrics
from ae_jax.evaluation.pca import fit_pca
from ae_jax.evaluation.tasks.labels import labeled, labels_misfit
from ae_jax.evaluation.tasks.subject import Result, Subject, joined, skipping
from ae_jax.spec import require

Part = Literal["filters", "units", "few_labels"]
PCA_LIMIT = 4096  # elements of an example
TOP = 10  # examples of each unit
CONVENTIONS = {
    "mean_activation": "absolute value, mean over test examples and units",
    "dead_units": f"fraction of units that vary by at most {NEAR_ZERO} over the test examples",
    "near_zero_units": f"fraction of units with a mean activation of at most {NEAR_ZERO}",
    "near_zero_activations": f"fraction of activations of at most {NEAR_ZERO}",
    "units": "the most variable over test examples (row, column, channel of spatial latents)",
    "top_examples": "rows of the test split where a unit is largest",
}


@dataclass(frozen=True, kw_only=True)
class Settings:
    parts: tuple[Part, ...] = ()
    """Parts to measure; by default all that fit."""
    units: int = 10
    """Number of units to show, the most variable ones."""
    labels: tuple[int, ...] = (10, 100, 500)
    """Numbers of labels for a classifier. Numbers above the pool are skipped; if all are, the whole
    pool is used."""
    draws: int = 5
    """Random draws for each number of labels."""
    pool: int = 10_000
    """Number of training examples, evenly spaced, from which labels are drawn."""

    def __post_init__(self) -> None:
        for name in ("units", "draws"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "must be at least 1")
        for name in ("pool", "labels"):
            value = getattr(self, name)
            ok = all(n >= 2 for n in (value if isinstance(value, tuple) else (value,)))
            require(ok and value != (), name, value, "must be at least 2")


def misfit(subject: Subject) -> str | None:
    return None


def measure(subject: Subject, settings: Settings) -> Result:
    misfits = {part: why for part, misfit in MISFITS.items() if (why := misfit(subject))}
    if wrong := [part for part in settings.parts if part in misfits]:
        raise ValueError(f"features.parts {wrong[0]}: {misfits[wrong[0]]}")
    if not np.isfinite(subject.test_latents).all():
        raise ValueError("the latents are not finite: has the training diverged?")
    results = [Result({}, {}, {}, {} if settings.parts else misfits)]
    for part in [part for part in settings.parts or PARTS if part not in misfits]:
        skipped: dict[str, str] = {}
        with skipping(skipped, part):
            results.append(PARTS[part](subject, settings))
        results.append(Result({}, {}, {}, skipped))
    return joined(results)


def _filters_misfit(subject: Subject) -> str | None:
    if not subject.are_images:
        return f"examples of shape {subject.ae.event_shape} are not images"
    try:
        first_filters(subject.ae, subject.variables)
    except ValueError as error:
        return str(error)
    return None


def _filters(subject: Subject, settings: Settings) -> Result:
    weights = first_filters(subject.ae, subject.variables)
    return Result({}, {}, {"features-filters": plots.filters(weights)})


def _units(subject: Subject, settings: Settings) -> Result:
    z = subject.test_latents
    leaves = jax.tree.leaves(subject.latent_shapes)
    shape = leaves[0].shape[1:] if len(leaves) == 1 else z.shape[1:]
    if math.prod(shape) != z.shape[1]:  # the module has features of its own
        shape = z.shape[1:]
    chosen = np.argsort(-z.std(axis=0), kind="stable")[: settings.units]
    names = [_name(unit, shape) for unit in chosen]
    top = [np.argsort(-z[:, unit], kind="stable")[:TOP] for unit in chosen]
    metrics: dict[str, Any] = activity_metrics(z)
    metrics["units"] = {
        name: {
            "mean": float(unit.mean()),
            "deviation": float(unit.std()),
            "least": float(unit.min()),
            "largest": float(unit.max()),
            "near zero": float((np.abs(unit) <= NEAR_ZERO).mean()),
            "top_examples": rows.tolist(),
        }
        for name, unit, rows in zip(names, z[:, chosen].T, top, strict=True)
    }
    titles = [f"unit {name}" for name in names]
    figures = {"features-histograms": plots.unit_histograms(z[:, chosen], titles)}
    if subject.are_images:
        images = {title: subject.test["x"][rows] for title, rows in zip(titles, top, strict=True)}
        title, limits = "test examples where a unit is largest", drawn_range(subject.test)
        drawn = plots.image_rows(images, count=TOP, title=title, limits=limits)
        figures["features-top-examples"] = drawn
    return Result(metrics, CONVENTIONS, figures)


def _name(unit: int, shape: tuple[int, ...]) -> str:
    """The number of a unit in flat latents, or its position in spatial ones."""
    return ", ".join(str(i) for i in np.unravel_index(unit, shape))


def _few_labels(subject: Subject, settings: Settings) -> Result:
    pool = some(labeled(subject.train), settings.pool)
    x, test = np.asarray(as_floats(pool["x"])), np.asarray(as_floats(subject.test["x"]))
    z = subject.latents(pool)
    features = {"latents": (z, subject.test_latents), "input": (x, test)}
    size = z.shape[1]
    # A PCA of full size only rotates the input.
    if size < min(len(x), x[0].size) and x[0].size <= PCA_LIMIT:
        pca = fit_pca(x, size)
        features[f"PCA {size}"] = (np.asarray(pca.encode(x)), np.asarray(pca.encode(test)))
    rows: dict[str, dict[str, float]] = {}
    skipped: dict[str, str] = {}
    curves: dict[str, dict[int, tuple[float, float]]] = {name: {} for name in features}
    for count in [n for n in settings.labels if n <= len(x)] or [len(x)]:
        row = rows[str(count)] = {}
        for name, (train_features, test_features) in features.items():
            with skipping(skipped, f"{count} labels, {name}"):
                accuracy = few_label_accuracy(
                    train_features,
                    pool["label"],
                    test_features,
                    subject.test["label"],
                    count=count,
                    draws=settings.draws,
                    seed=subject.seed,
                )
                row[name], row[f"{name} ±"] = float(accuracy.mean()), float(accuracy.std())
                curves[name][count] = row[name], row[f"{name} ±"]
    what = (
        "test accuracy of logistic regression by number of labels: mean and standard deviation of "
        f"{settings.draws} class-balanced draws from {len(x)} training examples"
    )
    figures = {}
    with skipping(skipped, "features-few-labels"):
        drawn = {name: curve for name, curve in curves.items() if curve}
        figures["features-few-labels"] = plots.label_curves(drawn)
    return Result({"few_labels": rows}, {"few_labels": what}, figures, skipped)


MISFITS = {"filters": _filters_misfit, "few_labels": labels_misfit}
PARTS = {"filters": _filters, "units": _units, "few_labels": _few_labels}
