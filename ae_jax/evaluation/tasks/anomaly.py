"""Anomaly detection: how well a model of normal examples recognizes other examples."""

from dataclasses import dataclass

import numpy as np
from sklearn.metrics import roc_curve

from ae_jax import plots
from ae_jax.evaluation.anomaly import (
    LATENT_SCORES,
    combined_score,
    detection_metrics,
    latent_scorer,
    model_scores,
)
from ae_jax.evaluation.tasks.subject import Result, Subject, skipping
from ae_jax.spec import require

LARGEST_LATENT = 1024  # the size of covariances grows with the square
POINTS = 500  # of a drawn curve
DRAWN = {
    "squared_error": "squared error, summed per example",
    "error_and_mixture": "log squared error and mixture of latents, standardized",
}


@dataclass(frozen=True, kw_only=True)
class Settings:
    false_positive_rate: float = 0.05
    """The share of normal test examples above the threshold, at most."""
    components: int = 10
    """Number of components of the Gaussian mixture of the latents."""
    neighbors: int = 5
    """Number of nearest normal latents for the mean distance."""

    def __post_init__(self) -> None:
        rate = self.false_positive_rate
        require(0 < rate < 1, "false_positive_rate", rate, "must be between 0 and 1")
        for name in ("components", "neighbors"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "must be at least 1")


def misfit(subject: Subject) -> str | None:
    if "label" not in subject.everything or "label" not in subject.train:
        return f"{subject.name} has no labels to tell normal examples from anomalies"
    if set(np.unique(subject.everything["label"])) <= set(np.unique(subject.train["label"])):
        return (
            "the model was trained on every class of the test set: train it on the normal classes, "
            "for example keep_labels=(0,) of the data"
        )
    return None


def measure(subject: Subject, settings: Settings) -> Result:
    normal = np.unique(subject.train["label"])
    anomalous = ~np.isin(subject.everything["label"], normal)
    scores, skipped = anomaly_scores(subject, settings)
    rows: dict[str, dict[str, float]] = {}
    for name, score in scores.items():
        with skipping(skipped, name):
            rate = settings.false_positive_rate
            rows[name] = detection_metrics(score, anomalous, false_positive_rate=rate)
    metrics = {
        "normal_examples": int((~anomalous).sum()),
        "anomalies": int(anomalous.sum()),
        "scores": rows,
    }
    conventions = {
        "normal_examples": f"test examples with the labels {', '.join(map(str, normal))}",
        "anomalies": "the other test examples",
        "scores": (
            "larger is less normal; at most the false positive rate of normal test examples lie "
            "above the threshold; squared error summed; terms of the loss as in training (nll and "
            "kl summed, in nats); gaussian and mixture: minus the log-density of standardized "
            "latents; neighbors: the mean distance; error_and_mixture: log squared error plus "
            "mixture, each in standard deviations over the training examples"
        ),
    }
    curves = {
        f"{name.replace('_', ' ')} ({rows[name]['roc_auc']:.3f})": _curve(score, anomalous)
        for name, score in scores.items()
        if name in rows
    }
    figures = {}
    with skipping(skipped, "anomaly-roc"):
        figures["anomaly-roc"] = plots.roc_curves(curves)
    for name in [name for name in DRAWN if name in rows]:
        figures[f"anomaly-{name.replace('_', '-')}"] = plots.score_histogram(
            scores[name], anomalous, threshold=rows[name]["threshold"], name=DRAWN[name]
        )
    return Result(metrics, conventions, figures, skipped)


def anomaly_scores(
    subject: Subject, settings: Settings
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """All scores of the full test split by name, [N], larger for less normal examples; and the
    reason for each score that is skipped."""
    scores, skipped = dict[str, np.ndarray](), dict[str, str]()
    with skipping(skipped, "scores of the model"):
        scores |= model_scores(subject.ae, subject.variables, subject.everything)
    z, test_z = subject.train_latents, subject.latents(subject.everything)
    if z.shape[1] > LARGEST_LATENT:
        return scores, skipped | {"scores of the latents": f"their size is above {LARGEST_LATENT}"}
    options = {"components": settings.components, "neighbors": settings.neighbors}
    scorers = {}
    for name in LATENT_SCORES:
        with skipping(skipped, name):
            scorers[name] = latent_scorer(name, z, **options, seed=subject.seed)
            scores[name] = scorers[name](test_z)
    if not {"squared_error", "mixture"} <= scores.keys():
        return scores, skipped | {"error_and_mixture": "one of the two is skipped"}
    of_train = model_scores(subject.ae, subject.variables, subject.train)

    def parts(error: np.ndarray, mixture: np.ndarray) -> dict[str, np.ndarray]:
        return {"error": np.log(error + 1e-30), "mixture": mixture}

    scores["error_and_mixture"] = combined_score(
        parts(of_train["squared_error"], scorers["mixture"](z)),
        parts(scores["squared_error"], scores["mixture"]),
    )
    return scores, skipped


def _curve(score: np.ndarray, anomalous: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    false, true, _ = roc_curve(anomalous, score)
    shown = np.unique(np.linspace(0, len(false) - 1, POINTS).astype(int))
    return false[shown], true[shown]
