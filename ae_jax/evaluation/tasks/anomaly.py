"""Anomaly detection: a model trained on normal examples only, and how well it tells the others."""

from dataclasses import dataclass

import numpy as np
from sklearn.metrics import roc_curve

from ae_jax import plots
from ae_jax.evaluation.anomaly import (
    code_scorers,
    combined_score,
    detection_metrics,
    model_scores,
)
from ae_jax.evaluation.tasks.subject import Result, Subject
from ae_jax.spec import require

LARGEST_CODE = 1024  # covariances of more take minutes and gigabytes
POINTS = 500  # of a curve that is drawn
DRAWN = {
    "squared_error": "squared error, summed per example",
    "error_and_mixture": "log squared error and mixture of codes, standardized",
}


@dataclass(frozen=True, kw_only=True)
class Settings:
    false_positive_rate: float = 0.05
    """At which the threshold is chosen."""
    components: int = 10
    """Of the Gaussian mixture of the codes."""
    neighbors: int = 5
    """Among the normal codes, to which a distance is taken."""

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
            "the model was trained on every class of the test set: train on the normal ones only, "
            "as with keep_labels=0"
        )
    return None


def measure(subject: Subject, settings: Settings) -> Result:
    normal = np.unique(subject.train["label"])
    anomalous = ~np.isin(subject.everything["label"], normal)
    scores = anomaly_scores(subject, settings)
    rate = settings.false_positive_rate
    rows = {
        name: detection_metrics(score, anomalous, false_positive_rate=rate)
        for name, score in scores.items()
    }
    metrics = {
        "normal_examples": int((~anomalous).sum()),
        "anomalies": int(anomalous.sum()),
        "scores": rows,
    }
    conventions = {
        "normal_examples": f"of the test split, with the labels {', '.join(map(str, normal))}",
        "anomalies": "the other examples of the test split",
        "scores": (
            "larger is less normal; the threshold lets at most the false positive rate of normal "
            "test examples lie above; squared error summed; terms of the loss as in training (nll "
            "and kl summed, in nats); gaussian and mixture minus the log-density of standardized "
            "codes, neighbors the mean distance, "
            "error_and_mixture the log squared error and mixture, each in standard deviations over "
            "the training examples"
        ),
    }
    curves = {
        f"{name.replace('_', ' ')} ({rows[name]['roc_auc']:.3f})": _curve(score, anomalous)
        for name, score in scores.items()
    }
    figures = {"anomaly-roc": plots.roc_curves(curves)}
    for name in [name for name in DRAWN if name in scores]:
        figures[f"anomaly-{name.replace('_', '-')}"] = plots.score_histogram(
            scores[name], anomalous, threshold=rows[name]["threshold"], name=DRAWN[name]
        )
    skipped = {}
    if "mixture" not in scores:
        skipped["scores of the code"] = f"its size is above {LARGEST_CODE}"
    return Result(metrics, conventions, figures, skipped)


def anomaly_scores(subject: Subject, settings: Settings) -> dict[str, np.ndarray]:
    """Every score of the whole test split, by name: [N], larger for what is less normal."""
    scores = model_scores(subject.ae, subject.variables, subject.everything)
    z, codes = subject.train_latents, subject.codes(subject.everything)
    if z.shape[1] > LARGEST_CODE:
        return scores
    scorers = code_scorers(
        z, components=settings.components, neighbors=settings.neighbors, seed=subject.seed
    )
    scores |= {name: score(codes) for name, score in scorers.items()}
    of_train = model_scores(subject.ae, subject.variables, subject.train)

    def parts(error: np.ndarray, mixture: np.ndarray) -> dict[str, np.ndarray]:
        return {"error": np.log(error + 1e-30), "mixture": mixture}

    scores["error_and_mixture"] = combined_score(
        parts(of_train["squared_error"], scorers["mixture"](z)),
        parts(scores["squared_error"], scores["mixture"]),
    )
    return scores


def _curve(score: np.ndarray, anomalous: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    false, true, _ = roc_curve(anomalous, score)
    shown = np.unique(np.linspace(0, len(false) - 1, POINTS).astype(int))
    return false[shown], true[shown]
