"""Accuracy from few labels: its draws, and what it does on classes that are known."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from ae_jax.evaluation.few_labels import balanced_rows, few_label_accuracy


def blobs(n, seed, *, apart=10.0, classes=3):
    """Points around the corners of a simplex, and their classes."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, classes, n)
    return apart * np.eye(classes)[label] + rng.normal(size=(n, classes)), label


@pytest.mark.parametrize("count", [3, 10, 30])
def test_draws_are_even_over_the_classes(count):
    label = np.repeat([4, 7, 9], [50, 20, 10])
    rows = balanced_rows(label, count, np.random.default_rng(0))
    assert len(set(rows)) == count
    drawn = [int((label[rows] == one).sum()) for one in (4, 7, 9)]
    assert max(drawn) - min(drawn) <= 1


def test_what_a_small_class_lacks_others_give():
    label = np.repeat([0, 1], [3, 40])
    rows = balanced_rows(label, 20, np.random.default_rng(0))
    assert sorted(np.bincount(label[rows])) == [3, 17]
    assert len(set(balanced_rows(label, 43, np.random.default_rng(0)))) == 43


def test_each_row_is_as_likely_as_the_others_of_its_class():
    label = np.repeat([0, 1], [5, 20])
    rng = np.random.default_rng(0)
    drawn = np.bincount(
        np.concatenate([balanced_rows(label, 4, rng) for _ in range(4000)]), minlength=25
    )
    np.testing.assert_allclose(drawn[:5] / 4000, 2 / 5, atol=0.04)
    np.testing.assert_allclose(drawn[5:] / 4000, 2 / 20, atol=0.025)


def test_classes_far_apart_need_one_label_each():
    (x, label), (test, test_label) = blobs(200, 0), blobs(100, 1)
    found = few_label_accuracy(x, label, test, test_label, count=3, draws=4)
    np.testing.assert_array_equal(found, 1.0)


def test_labels_that_say_nothing_give_chance():
    (x, label), (test, test_label) = blobs(300, 0, apart=0.0), blobs(3000, 1, apart=0.0)
    found = few_label_accuracy(x, label, test, test_label, count=60)
    assert found.mean() == pytest.approx(1 / 3, abs=0.05) and found.std() > 0


def test_a_scale_and_a_shift_of_all_features_and_a_turn_change_nothing():
    (x, label), (test, test_label) = blobs(200, 0, apart=1.5), blobs(500, 1, apart=1.5)
    turn = np.linalg.qr(np.random.default_rng(2).normal(size=(3, 3)))[0]
    plain = few_label_accuracy(x, label, test, test_label, count=20)
    moved = few_label_accuracy(50 * x @ turn + 7, label, 50 * test @ turn + 7, test_label, count=20)
    np.testing.assert_allclose(moved, plain, atol=0.005)
    assert 0.5 < plain.mean() < 0.95


def test_it_is_logistic_regression_of_mean_variance_1():
    rng = np.random.default_rng(0)
    label, test_label = rng.integers(0, 3, (2, 300))
    signal = 0.4 * rng.normal(size=(3, 40))
    x, test = (signal[y] + rng.normal(size=(300, 40)) for y in (label, test_label))
    rows = balanced_rows(label, 12, np.random.default_rng((5, 0)))
    scale = np.sqrt(x.var(0).mean())
    model = LogisticRegression(max_iter=1000).fit((x[rows] - x.mean(0)) / scale, label[rows])
    expected = model.score((test - x.mean(0)) / scale, test_label)
    (found,) = few_label_accuracy(x, label, test, test_label, count=12, draws=1, seed=5)
    assert found == pytest.approx(expected, abs=0.004) and 0.5 < found < 0.95


def test_the_draws_are_those_of_the_seed():
    (x, label), (test, test_label) = blobs(200, 0, apart=1.0), blobs(500, 1, apart=1.0)
    found = [
        few_label_accuracy(x, label, test, test_label, count=9, draws=3, seed=seed)
        for seed in (0, 0, 1)
    ]
    np.testing.assert_array_equal(found[0], found[1])
    assert (found[0] != found[2]).any()


@pytest.mark.parametrize("count", [1, 21])
def test_a_count_that_cannot_be_is_refused(count):
    x, label = blobs(20, 0)
    with pytest.raises(ValueError, match=f"count={count}: must be 2 to 20"):
        few_label_accuracy(x, label, x, label, count=count)


def test_one_class_is_refused():
    x = np.eye(4)
    with pytest.raises(ValueError, match="all labels are 7: a classifier needs two classes"):
        few_label_accuracy(x, np.full(4, 7), x, np.full(4, 7), count=2)
