"""Anomaly detection: a model of normal examples gives the others high scores.

Every score is larger for what is less normal. Nothing here looks at labels but `detection_metrics`,
which measures how well a score tells normal from anomalous.
"""

import math
from collections.abc import Callable, Mapping

import numpy as np
from jax import Array
from numpy.typing import ArrayLike
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import NearestNeighbors

from ae_jax import losses
from ae_jax.core import Autoencoder, Batch, Term, Variables, event_mask, reconstruction
from ae_jax.evaluation.batches import BATCH, of_examples
from ae_jax.spec import require

LATENT_SCORES = ("gaussian", "mixture", "neighbors")
FITTED = 10_000  # latents that a density is fitted to, at most


def model_scores(
    ae: Autoencoder,
    variables: Variables,
    data: Mapping[str, np.ndarray],
    *,
    batch_size: int = BATCH,
) -> dict[str, np.ndarray]:
    """Scores by what the model itself says of each example, without noise: arrays [N].

    ``squared_error`` of the reconstruction, summed; ``largest_error``, the largest absolute error
    of an element; and every term of the objective that is of one example, by its name (of a
    variational model ``nll`` and ``kl``, in nats, with the posterior's mean as the latent), and
    ``negative_elbo``, their sum, where there are both. No score reads the labels that a supervised
    model learns from.
    """
    data = {name: column for name, column in data.items() if name not in ae.supervised}

    def score(variables: Variables, batch: Batch) -> dict[str, Array]:
        x, where = batch[ae.target], event_mask(batch)
        outputs = ae.outputs(variables, batch)
        recon = reconstruction(outputs)
        error = abs(recon - x) if where is None else abs(recon - x) * where
        scores = {
            "squared_error": losses.mse(recon, x, where=where),
            "largest_error": error.reshape(len(x), -1).max(axis=1),
        }
        terms = {k: t.fn(outputs, batch) for k, t in ae.objective.items() if isinstance(t, Term)}
        scores |= terms
        if {"nll", "kl"} <= terms.keys():
            scores["negative_elbo"] = terms["nll"] + terms["kl"]
        return scores

    scores: dict[str, np.ndarray] = of_examples(score, ae, variables, data, batch_size=batch_size)
    return scores


def latent_scorer(
    kind: str,
    normal: ArrayLike,
    *,
    components: int = 10,
    neighbors: int = 5,
    seed: int = 0,
) -> Callable[[np.ndarray], np.ndarray]:
    """A function of latents [N, K] -> [N]: their distances from the `normal` latents [M, K].

    ``gaussian`` and ``mixture``: minus the log-density, in nats, of a Gaussian and of a mixture of
    `components` of them, with full covariances, fitted to `normal` (evenly spaced rows of it, if it
    has more than 10,000). ``neighbors``: the mean Euclidean distance to the `neighbors` nearest of
    `normal`. Latents are first standardized by `normal`, and densities are of standardized latents.
    Latents that are constant in `normal` are omitted.

    Raises `ValueError` if `normal` has too few rows for this kind, or only equal ones.
    """
    normal = np.asarray(normal, np.float64)
    needed = {"gaussian": 2, "mixture": 2 * components, "neighbors": neighbors}[kind]
    require(len(normal) >= needed, "normal", len(normal), f"needs at least {needed} examples")
    deviation = normal.std(0)
    moving = deviation > 1e-6 * max(float(deviation.max()), 1e-30)
    center, scale = normal.mean(0)[moving], deviation[moving]
    if not moving.any() or not deviation.max() > 0:
        raise ValueError(
            "all normal examples have the same latents: no other example can be told from them"
        )

    def standardized(z: np.ndarray) -> np.ndarray:
        scaled: np.ndarray = (np.asarray(z, np.float64)[:, moving] - center) / scale
        return scaled

    normal = standardized(normal)
    if kind == "neighbors":
        nearest = NearestNeighbors(n_neighbors=neighbors).fit(normal)
        return lambda z: nearest.kneighbors(standardized(z))[0].mean(axis=1)
    few = normal[np.unique(np.linspace(0, len(normal) - 1, FITTED).astype(int))]
    count = components if kind == "mixture" else 1
    # The ridge is a hundredth of a standardized unit's deviation, squared.
    density = GaussianMixture(count, reg_covar=1e-4, random_state=seed).fit(few)
    return lambda z: -density.score_samples(standardized(z))


def combined_score(
    normal: Mapping[str, np.ndarray], scores: Mapping[str, np.ndarray]
) -> np.ndarray:
    """The sum of `scores`, by name [N], each in standard deviations of it over `normal` [M]."""
    return np.sum([scores[k] / max(np.std(normal[k]), 1e-30) for k in normal], axis=0)


def detection_metrics(
    scores: ArrayLike, anomalous: ArrayLike, *, false_positive_rate: float = 0.05
) -> dict[str, float]:
    """How well `scores` [N] tell the `anomalous` [N] (booleans) from the others.

    Returns:
      ``roc_auc``, the probability that an anomaly scores higher than a normal example (ties count
      half); ``average_precision``, with anomalies as the positives; ``threshold``, the lowest one
      with at most `false_positive_rate` of the normal examples above it, and there
      ``true_positive_rate`` and the ``false_positive_rate`` itself.

    Raises:
      ValueError: there are only normal examples, or only anomalies.
    """
    scores, anomalous = np.asarray(scores, np.float64), np.asarray(anomalous, bool)
    ok = 0 < false_positive_rate < 1
    require(ok, "false_positive_rate", false_positive_rate, "must be between 0 and 1")
    if anomalous.all() or not anomalous.any():
        kind = "anomalies" if anomalous.all() else "normal examples"
        raise ValueError(f"all {len(anomalous)} examples are {kind}: a ROC curve needs both kinds")
    normal = np.sort(scores[~anomalous])
    # Of n normal examples floor(rate * n) may lie above, whatever the rounding of the product.
    above = math.floor(false_positive_rate * len(normal) + 1e-9)
    threshold = normal[len(normal) - 1 - above]
    return {
        "roc_auc": float(roc_auc_score(anomalous, scores)),
        "average_precision": float(average_precision_score(anomalous, scores)),
        "threshold": float(threshold),
        "true_positive_rate": float((scores[anomalous] > threshold).mean()),
        "false_positive_rate": float((normal > threshold).mean()),
    }
