"""How well latents preserve the neighborhoods of the data and the labels."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from ae_jax.spec import require


def neighborhood_metrics(x: ArrayLike, z: ArrayLike, *, neighbors: int = 12) -> dict[str, float]:
    """Agreement of the nearest neighbors of rows x [N, D] and of their latents z [N, K].

    ``trustworthiness`` is smaller than 1 if neighbors among the latents are far apart in the data,
    ``continuity`` if neighbors in the data are far apart among the latents. Distances are
    Euclidean; memory grows with N^2.

    Source: Venna & Kaski, Neighborhood preservation in nonlinear projection methods, 2001.

    Raises `ValueError` unless N is more than twice `neighbors`.
    """
    from sklearn.manifold import trustworthiness

    x, z = _rows(x), _rows(z)
    ok = 1 <= neighbors < len(x) / 2
    require(ok, "neighbors", neighbors, f"must be in 1 .. {(len(x) - 1) // 2}")
    return {
        "trustworthiness": float(trustworthiness(x, z, n_neighbors=neighbors)),
        "continuity": float(trustworthiness(z, x, n_neighbors=neighbors)),
    }


def probe_metrics(
    train: tuple[ArrayLike, ArrayLike],
    test: tuple[ArrayLike, ArrayLike],
    *,
    neighbors: Sequence[int] = (1, 5, 10),
) -> dict[str, float]:
    """Test accuracies of simple classifiers; `train` and `test` are latents [N, K] and labels [N].

    ``knn_1`` and so on predict the most common label of the nearest training latents (Euclidean
    distances; the smallest label wins a tie). ``linear`` is logistic regression on standardized
    latents, with scikit-learn's default penalty.

    Raises:
      ValueError: all training labels are equal, or there are fewer examples than neighbors.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import NearestNeighbors
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    (z, label), (test_z, test_label) = [(_rows(z), np.asarray(label)) for z, label in (train, test)]
    if (label == label[0]).all():
        raise ValueError(f"all training labels are {label[0]}: a classifier needs two classes")
    most = max(neighbors)
    require(most <= len(z), "neighbors", most, f"there are {len(z)} training examples")
    _, nearest = NearestNeighbors(n_neighbors=most).fit(z).kneighbors(test_z)
    metrics = {}
    for k in neighbors:
        votes = (label[nearest[:, :k], None] == np.unique(label)).sum(axis=1)  # [N, classes]
        predicted = np.unique(label)[votes.argmax(axis=1)]
        metrics[f"knn_{k}"] = float((predicted == test_label).mean())
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(z, label)
    metrics["linear"] = float(probe.score(test_z, test_label))
    return metrics


def _rows(x: ArrayLike) -> np.ndarray:
    x = np.asarray(x)
    rows = x.reshape(len(x), -1).astype(np.float32)
    return rows / 255 if x.dtype == np.uint8 else rows
