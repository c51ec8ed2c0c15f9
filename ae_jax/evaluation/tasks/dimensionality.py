"""Dimensionality reduction: what latents preserve, compared with PCA of the same size."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from sklearn.manifold import TSNE

from ae_jax import plots
from ae_jax.evaluation import PCA, LogisticPCA, fit_logistic_pca, fit_pca
from ae_jax.evaluation.baselines import linear_errors
from ae_jax.evaluation.batches import in_batches, some
from ae_jax.evaluation.neighbors import neighborhood_metrics, probe_metrics
from ae_jax.evaluation.reconstruction import mean_metrics, reconstruction_errors
from ae_jax.evaluation.tasks.subject import Result, Subject, skipping
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
    if not (np.isfinite(subject.train_latents).all() and np.isfinite(subject.test_latents).all()):
        return "the latents are not finite: has the training diverged?"
    return None


def measure(subject: Subject, settings: Settings) -> Result:
    skipped: dict[str, str] = {}
    spaces = {"latents": (subject.train_latents, subject.test_latents)}
    errors = _errors(subject, settings, spaces, skipped)
    size = subject.train_latents.shape[1]
    metrics: dict[str, Any] = {"latent_dim": size, "mse": errors}
    conventions = {
        "latent_dim": "number of latents, over all positions if they are spatial",
        "mse": "squared error of test reconstructions, mean over elements and examples, and the "
        "same for PCA with as many components, fitted to the training set (logistic PCA, which "
        f"infers each latent by minimization, to at most {settings.probe_train} examples)",
    }
    rows = _spaced(subject.test, settings.examples)
    near = min(settings.neighbors, (len(rows) - 1) // 2)
    metrics["neighborhoods"] = {}
    for name, (_, z) in spaces.items():
        with skipping(skipped, f"neighborhoods of {name}"):
            require(near > 0, "examples", len(rows), "needs at least 3 test examples")
            x = subject.test["x"][rows]
            metrics["neighborhoods"][name] = neighborhood_metrics(x, z[rows], neighbors=near)
    conventions["neighborhoods"] = (
        f"for {near} neighbors among {len(rows)} test examples, 1 if all are preserved: "
        "trustworthiness of neighbors among the latents, continuity of those in the data"
    )
    if why := _no_labels(subject):
        skipped["accuracy"] = why
    else:
        metrics["accuracy"], conventions["accuracy"] = _accuracy(subject, settings, spaces, skipped)
    figures: dict[str, Figure] = {}
    for name, draw in _figures(subject, rows).items():
        with skipping(skipped, name):
            figures[name] = draw()
    return Result(metrics, conventions, figures, skipped)


def _errors(
    subject: Subject, settings: Settings, spaces: dict[str, Any], skipped: dict[str, str]
) -> dict[str, float]:
    """Errors of the model and of linear ones by name; the latents of PCA are added to `spaces`."""
    errors: dict[str, float] = {}
    with skipping(skipped, "mse"):
        each = reconstruction_errors(subject.ae, subject.variables, subject.test)
        errors["latents"] = mean_metrics(each)["mse"]
    x, size = subject.train["x"], subject.train_latents.shape[1]
    elements = x[0].size
    with skipping(skipped, "PCA"):
        if elements > PCA_LIMIT:
            raise ValueError(f"examples have {elements} elements, more than {PCA_LIMIT}")
        if size >= min(elements, len(x)):
            raise ValueError(f"latents of size {size} are not smaller than the data")
        pca = fit_pca(x, size)
        spaces["PCA"] = (_encode(pca, subject.train), _encode(pca, subject.test))
        errors["PCA"] = _error(pca, subject)
    if settings.logistic_pca and "PCA" in errors:
        with skipping(skipped, "logistic PCA"):
            few = x[_spaced(subject.train, settings.probe_train)]
            if why := _no_logistic_pca(subject, size, len(few)):
                raise ValueError(why)
            errors["logistic PCA"] = _error(fit_logistic_pca(few, size), subject)
    return errors


def _accuracy(
    subject: Subject, settings: Settings, spaces: dict[str, Any], skipped: dict[str, str]
) -> tuple[dict[str, Any], str]:
    """Accuracies of classifiers by what they read, and a line on what they are."""
    fitted = _spaced(subject.train, settings.probe_train)
    tested = _spaced(subject.test, settings.probe_test)
    accuracy: dict[str, Any] = {}
    data = {"data": (subject.train["x"], subject.test["x"])}
    for name, (train, test) in (spaces | data).items():
        with skipping(skipped, f"accuracy of {name}"):
            accuracy[name] = probe_metrics(
                (train[fitted], subject.train["label"][fitted]),
                (test[tested], subject.test["label"][tested]),
                neighbors=[k for k in (1, 5, 10) if k <= len(fitted)],
            )
    about = (
        f"of classifiers fitted to {len(fitted)} training examples, on {len(tested)} test "
        "examples: k nearest neighbors, and logistic regression (linear)"
    )
    return accuracy, about


def _spaced(data: Mapping[str, np.ndarray], count: int) -> np.ndarray:
    """The numbers of at most `count` rows of `data`, evenly spaced."""
    every = {"x": data["x"], "row": np.arange(len(data["x"]))}
    return some(every, count)["row"]


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


def _figures(subject: Subject, rows: np.ndarray) -> dict[str, Callable[[], Figure]]:
    """What draws each figure, by file name."""
    z = subject.test_latents[rows]
    label = subject.test.get("label")
    label = None if label is None else label[rows]

    def plane(name: str, reducer: Any) -> Figure:
        return _plane(reducer(random_state=subject.seed).fit_transform(z), label, name)

    def scatter() -> Figure:
        if np.ptp(z, axis=0).max() == 0:
            raise ValueError("all test examples have the same latents")
        return plots.latent_scatter(z, label)

    figures: dict[str, Callable[[], Figure]] = {"dimensionality-latents": scatter}
    if z.shape[1] > 2 and len(z) > 50 and np.ptp(z, axis=0).max() > 0:
        figures["dimensionality-tsne"] = lambda: plane("t-SNE", TSNE)
        try:
            from umap import UMAP
        except ImportError:  # an extra
            return figures
        figures["dimensionality-umap"] = lambda: plane("UMAP", UMAP)
    return figures


def _plane(points: np.ndarray, label: np.ndarray | None, name: str) -> Figure:
    title, axes = f"{name} of {len(points)} test latents", (f"{name} 1", f"{name} 2")
    return plots.latent_scatter(points, label, title=title, axes=axes)


def _encode(pca: PCA, data: Any) -> np.ndarray:
    z: np.ndarray = in_batches(lambda pca, batch: pca.encode(batch["x"]), pca, {"x": data["x"]})
    return z


def _error(model: PCA | LogisticPCA, subject: Subject) -> float:
    return mean_metrics(linear_errors(model, subject.test))["mse"]
