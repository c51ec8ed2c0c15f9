"""Dimensionality reduction: what latents preserve, compared with PCA of the same size."""

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure
from sklearn.manifold import TSNE

from ae_jax import losses, plots
from ae_jax.core import Batch, event_mask
from ae_jax.evaluation import PCA, LogisticPCA, fit_logistic_pca, fit_pca
from ae_jax.evaluation.batches import in_batches
from ae_jax.evaluation.neighbors import neighborhood_metrics, probe_metrics
from ae_jax.evaluation.reconstruction import mean_metrics, reconstruction_errors
from ae_jax.evaluation.tasks.subject import Result, Subject, some
from ae_jax.spec import require

PCA_LIMIT = 4096  # elements of an example: the cost of PCA grows with their cube
LOGISTIC_LIMIT = 64  # components: the cost grows with their cube
LEAST = {"neighbors": 1, "examples": 8, "probe_train": 10, "probe_test": 1}


@dataclass(frozen=True, kw_only=True)
class Settings:
    neighbors: int = 12
    """Number of nearest neighbors that trustworthiness and continuity compare."""
    examples: int = 2000
    """Test examples for trustworthiness, continuity, t-SNE and UMAP, at most."""
    probe_train: int = 10_000
    """Training examples for the probes, at most."""
    probe_test: int = 5000
    """Test examples for the probes, at most."""
    logistic_pca: bool = True
    """Also fit logistic PCA, to probe_train examples, if the data lie in [0, 1]."""

    def __post_init__(self) -> None:
        for name, least in LEAST.items():
            value = getattr(self, name)
            require(value >= least, f"dimensionality.{name}", value, f"must be at least {least}")


def misfit(subject: Subject) -> str | None:
    if len(subject.test["x"]) < 8:
        return f"{subject.name} has only {len(subject.test['x'])} test examples"
    if not (np.isfinite(subject.train_latents).all() and np.isfinite(subject.test_latents).all()):
        return "the latents are not finite: has the training diverged?"
    return None


def measure(subject: Subject, settings: Settings) -> Result:
    spaces = {"latents": (subject.train_latents, subject.test_latents)}
    x, test_x = subject.train["x"], subject.test["x"]
    few = some({"x": x, "row": np.arange(len(x))}, settings.probe_train)
    size = spaces["latents"][0].shape[1]
    elements = x[0].size
    test_errors = reconstruction_errors(subject.ae, subject.variables, subject.test)
    errors = {"latents": mean_metrics(test_errors)["mse"]}
    conventions = {"latent_dim": "number of latents, over all positions if they are spatial"}
    skipped = {}
    if elements > PCA_LIMIT:
        skipped["PCA"] = f"examples have {elements} elements, more than {PCA_LIMIT}"
    elif size >= min(elements, len(x)):
        skipped["PCA"] = f"latents of size {size} are not smaller than the data"
    else:
        pca = fit_pca(x, size)
        spaces["PCA"] = (_encode(pca, subject.train), _encode(pca, subject.test))
        errors["PCA"] = _error(pca, subject.test)
        if settings.logistic_pca and (why := _no_logistic_pca(subject, size, len(few["x"]))):
            skipped["logistic PCA"] = why
        elif settings.logistic_pca:
            errors["logistic PCA"] = _error(fit_logistic_pca(few["x"], size), subject.test)
    metrics: dict[str, Any] = {"latent_dim": size, "mse": errors}
    conventions["mse"] = (
        "squared error of test reconstructions, mean over elements and examples, and the same for "
        "PCA with as many components, fitted to the training set (logistic PCA, which infers each "
        f"latent by minimization, to at most {settings.probe_train} examples)"
    )

    every = {"x": test_x, "row": np.arange(len(test_x))}
    rows = some(every, settings.examples)["row"]
    near = min(settings.neighbors, (len(rows) - 1) // 2)
    metrics["neighborhoods"] = {
        name: neighborhood_metrics(test_x[rows], z[rows], neighbors=near)
        for name, (_, z) in spaces.items()
    }
    conventions["neighborhoods"] = (
        f"for {near} neighbors among {len(rows)} test examples, 1 if all are preserved: "
        "trustworthiness of neighbors among the latents, continuity of those in the data"
    )
    if why := _no_labels(subject):
        skipped["accuracy"] = why
    else:
        fitted, tested = few["row"], some(every, settings.probe_test)["row"]
        metrics["accuracy"] = {
            name: probe_metrics(
                (a[fitted], subject.train["label"][fitted]),
                (b[tested], subject.test["label"][tested]),
                neighbors=[k for k in (1, 5, 10) if k <= len(fitted)],
            )
            for name, (a, b) in (spaces | {"data": (x, test_x)}).items()
        }
        conventions["accuracy"] = (
            f"of classifiers fitted to {len(fitted)} training examples, on {len(tested)} test "
            "examples: k nearest neighbors, and logistic regression (linear)"
        )
    if np.ptp(subject.test_latents[rows], axis=0).max() == 0:
        skipped["figures"] = "all test examples have the same latents"
        return Result(metrics, conventions, {}, skipped)
    return Result(metrics, conventions, _figures(subject, rows), skipped)


def _no_logistic_pca(subject: Subject, size: int, count: int) -> str | None:
    if not subject.in_unit_interval:
        return "the data do not lie in [0, 1]"
    if size > min(LOGISTIC_LIMIT, count):
        return f"latents of size {size} are larger than {min(LOGISTIC_LIMIT, count)}"
    return None


def _no_labels(subject: Subject) -> str | None:
    if "label" not in subject.train or "label" not in subject.test:
        return f"{subject.name} has no labels to train a classifier on the latents"
    if len(np.unique(subject.train["label"])) < 2:
        return f"all training examples have the label {subject.train['label'][0]}"
    return None


def _figures(subject: Subject, rows: np.ndarray) -> dict[str, Figure]:
    z = subject.test_latents[rows]
    label = subject.test.get("label")
    label = None if label is None else label[rows]
    figures = {"dimensionality-latents": plots.latent_scatter(z, label)}
    if z.shape[1] > 2 and len(z) > 50:
        points = TSNE(random_state=subject.seed).fit_transform(z)
        figures["dimensionality-tsne"] = _plane(points, label, "t-SNE")
        try:
            from umap import UMAP
        except ImportError:  # an extra
            return figures
        points = UMAP(random_state=subject.seed).fit_transform(z)
        figures["dimensionality-umap"] = _plane(points, label, "UMAP")
    return figures


def _plane(points: np.ndarray, label: np.ndarray | None, name: str) -> Figure:
    title, axes = f"{name} of {len(points)} test latents", (f"{name} 1", f"{name} 2")
    return plots.latent_scatter(points, label, title=title, axes=axes)


def _encode(pca: PCA, data: Any) -> np.ndarray:
    z: np.ndarray = in_batches(lambda pca, batch: pca.encode(batch["x"]), pca, {"x": data["x"]})
    return z


def _error(pca: PCA | LogisticPCA, data: Any) -> float:
    """Squared error of reconstructions per element, mean over examples."""

    def error(pca: PCA | LogisticPCA, batch: Batch) -> Any:
        recon = pca.decode(pca.encode(batch["x"]))
        x = jnp.asarray(batch["x"])
        return losses.mse(recon, x, reduction="mean", where=event_mask(batch))

    return float(in_batches(error, pca, data).mean())
