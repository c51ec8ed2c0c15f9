"""k-sparse probes: the chosen latents, and classifiers on them, on data where both are known."""

import numpy as np
import optax
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from ae_jax.evaluation.dictionaries.probing import dictionary_probes, probe_means, sparse_probes
from ae_jax.models import Dictionary
from ae_jax.sparsifiers import TopK

RNG = np.random.default_rng(0)


def features(count, width=20, classes=3):
    """Latent 2 c + 5 is active for class c, latent 2 c + 6 for most of it; the others are noise."""
    label = RNG.integers(0, classes, count)
    z = 0.3 * RNG.random((count, width))
    for c in range(classes):
        z[label == c, 2 * c + 5] += 1.0
        z[(label == c) & (RNG.random(count) < 0.9), 2 * c + 6] += 1.0
    return z.astype(np.float32), label


def test_the_latents_of_a_class_are_found_and_suffice():
    z, label = features(200)
    test_z, test_label = features(150)
    probes = sparse_probes(z, label, test_z, test_label, ks=(1, 2))
    assert [(p.label, p.k) for p in probes] == [(c, k) for c in range(3) for k in (1, 2)]
    for p in probes:
        assert p.latents == (2 * p.label + 5, 2 * p.label + 6)[: p.k]
        assert p.accuracy == 1.0 and p.auc == 1.0
        share = (test_label == p.label).mean()
        assert p.base == max(share, 1 - share)
    assert probe_means(probes)[2] == pytest.approx(
        {"accuracy": 1.0, "auc": 1.0, "base": np.mean([p.base for p in probes if p.k == 2])}
    )


def test_labels_that_say_nothing_have_an_auc_of_a_half():
    z, test_z = RNG.normal(size=(2, 2000, 8))
    label, test_label = RNG.integers(0, 2, (2, 2000))
    probes = sparse_probes(z, label, test_z, test_label, ks=(3,))
    bound = 5 * np.sqrt((2000 + 1) / (12 * 1000 * 1000))  # the standard error of a rank sum
    assert all(abs(p.auc - 0.5) < bound for p in probes)


@pytest.fixture(scope="module")
def case(numpy_state):
    ae = Dictionary(width=12, sparsifier=TopK(active=4), dead_weight=0.0).build((5,))
    variables = numpy_state(ae, optax.identity()).variables
    label = np.int32(RNG.integers(0, 3, 90) - 1)
    x = np.float32(RNG.normal(size=(90, 5)) + np.eye(3, 5)[label + 1])
    return ae, variables, {"x": x, "label": label}


def test_probes_of_a_model_are_those_of_its_activations(case):
    ae, variables, data = case
    train, test = (
        {name: c[rows] for name, c in data.items()} for rows in (slice(50), slice(50, 90))
    )
    masked = {name: c[np.r_[0:50, 0, 3]] for name, c in train.items()} | {
        "mask": np.r_[[1] * 50, 0, 0]
    }
    got = dictionary_probes(ae, variables, masked, test, ks=(1, 3), batch_size=16)
    z, test_z = (np.asarray(ae.features(variables, each["x"])) for each in (train, test))
    want = sparse_probes(z, train["label"], test_z, test["label"], ks=(1, 3))
    for a, b in zip(got, want, strict=True):
        assert a[:3] == b[:3]
        np.testing.assert_allclose(a[3:], b[3:], rtol=1e-6)


def test_the_criterion_and_the_classifier(case):
    """In float64, by hand, for one class."""
    ae, variables, data = case
    z = np.float64(ae.features(variables, data["x"]))
    inside = data["label"] == 1
    difference = np.abs(z[inside].mean(0) - z[~inside].mean(0))
    chosen = np.argsort(-difference)[:2]
    scaled = (z[:, chosen] - z[:, chosen].mean(0)) / z[:, chosen].std(0)
    model = LogisticRegression(max_iter=1000).fit(scaled, inside)
    probe = next(p for p in dictionary_probes(ae, variables, data, data, ks=(2,)) if p.label == 1)
    assert probe.latents == tuple(chosen)
    assert probe.accuracy == pytest.approx(model.score(scaled, inside))
    assert probe.auc == pytest.approx(roc_auc_score(inside, model.decision_function(scaled)))


@pytest.mark.parametrize(
    ("label", "test_label", "ks", "says"),
    [
        ([1, 1], [1, 1], (1,), "all labels are 1: a probe needs two classes"),
        ([0, 1], [1, 1], (1,), "no test example has the label 0"),
        ([0, 1], [0, 1], (0,), "ks=(0,): must be at least 1 each"),
        ([0, 1], [0, 1], (), "ks=(): must be at least 1 each"),
    ],
)
def test_probes_that_cannot_work_are_one_line(label, test_label, ks, says):
    with pytest.raises(ValueError) as error:
        sparse_probes(np.eye(2), label, np.eye(2), test_label, ks=ks)
    assert says in str(error.value)
