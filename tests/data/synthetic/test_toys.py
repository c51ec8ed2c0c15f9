"""The two toys: frequencies, exclusion and directions."""

import numpy as np
import pytest
from scipy import stats

from ae_jax.data.synthetic import MatryoshkaToy, Superposition

COUNT = 40_000


def within(got, want, count, errors=5):
    """Frequencies within some standard errors of probabilities."""
    want = np.asarray(want)
    assert (np.abs(got - want) <= errors * np.sqrt(want * (1 - want) / count) + 1e-12).all()


def draw(spec, count=COUNT):
    return spec.build(3).data(count, activations=True).read(np.arange(count))


def test_the_matryoshka_toy():
    spec = MatryoshkaToy()
    a = draw(spec)["activations"]
    assert np.isin(a, (0, 1)).all()
    within(a.mean(0), spec.probabilities(), COUNT)
    assert spec.probabilities().sum() == pytest.approx(1.12)
    children = a[:, 3:12].reshape(-1, 3, 3)
    assert (children.sum(-1) <= a[:, :3]).all()  # one at most, and none without its parent
    for parent in range(3):
        active = a[:, parent] > 0
        within(children[active, parent].mean(0), [0.2] * 3, active.sum())
        within((children[active, parent].sum(-1) == 0).mean(), 0.4, active.sum())
    # Features of different families are independent.
    family = np.concatenate([a[:, :3], a[:, 12:]], 1)
    both = (family.T @ family / COUNT)[np.triu_indices(11, 1)]
    p = spec.probabilities()[[0, 1, 2, *range(12, 20)]]
    within(both, np.outer(p, p)[np.triu_indices(11, 1)], COUNT)


def test_its_directions_are_orthogonal_with_lengths_near_one():
    features = np.asarray(MatryoshkaToy(features=100).build(0).features, np.float64)
    lengths = np.linalg.norm(features, axis=1)
    gram = features @ features.T
    np.testing.assert_allclose(gram, np.diag(lengths**2), atol=1e-5)
    assert abs(lengths.mean() - 1) < 5 * 0.05 / 10
    assert 0.05 * (1 - 5 / np.sqrt(200)) < lengths.std() < 0.05 * (1 + 5 / np.sqrt(200))


def test_the_published_mean_of_active_latents():
    spec = MatryoshkaToy(alone=0.064225)
    assert spec.probabilities().sum() == pytest.approx(1.2338)
    a = draw(spec)["activations"]
    count = a.sum(1)
    assert abs(count.mean() - 1.2338) < 5 * count.std() / np.sqrt(COUNT)


def test_children_may_share_all_of_a_parent():
    a = draw(MatryoshkaToy(features=6, groups=2, children=2, parent=1.0, child=0.5), 5000)
    a = a["activations"]
    assert (a[:, :2] == 1).all() and (a[:, 2:].reshape(-1, 2, 2).sum(-1) == 1).all()
    within(a[:, 2:].mean(0), [0.5] * 4, 5000)


@pytest.mark.parametrize("sparsity", [0.0, 0.9])
def test_superposition(sparsity):
    spec = Superposition(features=5, sparsity=sparsity, decay=0.5)
    batch = draw(spec)
    x = batch["x"]
    np.testing.assert_array_equal(x, batch["activations"])
    within((x > 0).mean(0), spec.probabilities(), COUNT)
    for feature in x.T:
        assert stats.kstest(feature[feature > 0], stats.uniform.cdf).pvalue > 1e-4
    np.testing.assert_allclose(spec.importance(), [1, 0.5, 0.25, 0.125, 0.0625])
    assert np.abs(np.corrcoef(x.T)[np.triu_indices(5, 1)]).max() < 5 / np.sqrt(COUNT)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MatryoshkaToy(parent=1.5), r"parent=1.5: must be in \[0, 1\]"),
        (lambda: MatryoshkaToy(alone=-0.1), r"alone=-0.1: must be in \[0, 1\]"),
        (lambda: MatryoshkaToy(child=0.4), "child=0.4: must be at most 1 / 3"),
        (lambda: MatryoshkaToy(groups=0), "groups=0: must be at least 1"),
        (lambda: MatryoshkaToy(features=11), "features=11: the parents and their children are 12"),
        (lambda: MatryoshkaToy(scale=-1.0), "scale=-1.0: must be at least 0"),
        (lambda: Superposition(features=0), "features=0: must be at least 1"),
        (lambda: Superposition(sparsity=1.0), r"sparsity=1.0: must be in \[0, 1\)"),
        (lambda: Superposition(decay=0.0), r"decay=0.0: must be in \(0, 1\]"),
    ],
)
def test_numbers_that_make_no_law(make, message):
    with pytest.raises(ValueError, match=message):
        make()
