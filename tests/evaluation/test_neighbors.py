"""Neighborhoods and probes on cases whose answer is known."""

import numpy as np
import pytest

from ae_jax.evaluation.neighbors import neighborhood_metrics, probe_metrics

RNG = np.random.default_rng(0)


def ranks(points):
    """[N, N]: how many others are nearer to row i than row j, from 1; of itself 0."""
    distance = np.linalg.norm(points[:, None] - points, axis=2)
    return distance.argsort(1).argsort(1)


def lost(near_in, far_in, k):
    """Venna & Kaski's sum over neighbors in one space that are none in the other."""
    n = len(near_in)
    a, b = ranks(near_in), ranks(far_in)
    intruders = (a >= 1) & (a <= k) & (b > k)
    return 1 - 2 / (n * k * (2 * n - 3 * k - 1)) * ((b - k) * intruders).sum()


def test_trustworthiness_and_continuity_are_their_definitions():
    x = RNG.normal(size=(40, 5))
    z = x[:, :2]
    metrics = neighborhood_metrics(x, z, neighbors=4)
    np.testing.assert_allclose(metrics["trustworthiness"], lost(z, x, 4))
    np.testing.assert_allclose(metrics["continuity"], lost(x, z, 4))
    same = neighborhood_metrics(x, 3 * x + 1, neighbors=4)
    assert same == {"trustworthiness": 1.0, "continuity": 1.0}
    with pytest.raises(ValueError, match=r"neighbors=20: must be in 1 .. 19"):
        neighborhood_metrics(x, z, neighbors=20)


def test_probes_read_what_is_there():
    label = RNG.integers(3, size=400)
    z = RNG.normal(size=(400, 2)) * 0.1 + np.array([[0, 0], [5, 0], [0, 5]])[label]
    metrics = probe_metrics((z[:300], label[:300]), (z[300:], label[300:]))
    assert metrics == {"knn_1": 1.0, "knn_5": 1.0, "knn_10": 1.0, "linear": 1.0}
    noise = probe_metrics((z[:300], RNG.permutation(label[:300])), (z[300:], label[300:]))
    assert max(noise.values()) < 0.6


def test_votes_are_counted_as_scikit_learn_does():
    from sklearn.neighbors import KNeighborsClassifier

    z, label = RNG.normal(size=(150, 2)), RNG.integers(4, size=150) + 2
    train, test = (z[:100], label[:100]), (z[100:], label[100:])
    metrics = probe_metrics(train, test, neighbors=(1, 2, 7))
    for k in (1, 2, 7):
        assert metrics[f"knn_{k}"] == KNeighborsClassifier(k).fit(*train).score(*test)


def test_one_class_is_an_error():
    z = np.zeros((20, 2))
    with pytest.raises(ValueError, match="all training labels are 4: a classifier needs two"):
        probe_metrics((z, np.full(20, 4)), (z, np.full(20, 4)))
