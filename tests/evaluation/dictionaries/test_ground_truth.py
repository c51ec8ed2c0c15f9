"""Ground-truth scores of dictionaries whose scores are known, and against brute force."""

import math
from itertools import permutations

import numpy as np
import pytest

from ae_jax.data.synthetic import MatryoshkaToy
from ae_jax.evaluation.dictionaries.absorption import AbsorptionTally
from ae_jax.evaluation.dictionaries.ground_truth import Tally, scores
from ae_jax.evaluation.dictionaries.matching import match

RNG = np.random.default_rng(0)
EYE = np.eye(6)
TRUE = np.float32(RNG.random((400, 6)) < [0.5, 0.3, 0.2, 0.1, 0.4, 0.05]) * RNG.random((400, 6))
ONES = {"f1": 1.0, "precision": 1.0, "recall": 1.0, "mcc": 1.0, "uniqueness": 1.0}


def test_the_identity_has_all_ones():
    got = scores(EYE, EYE, [(TRUE, TRUE)])
    assert got == pytest.approx(ONES | {"l0": got["true_l0"], "true_l0": (TRUE > 0).sum(1).mean()})


def test_order_sign_and_length_of_directions_change_nothing():
    order = RNG.permutation(6)
    learned = EYE[order] * np.array([-1, 2, -0.1, 1, 5, -1])[:, None]
    got = scores(learned, 3 * EYE, [(-TRUE[:, order], TRUE)])
    assert {name: got[name] for name in ONES} == pytest.approx(ONES)


def test_duplicated_latents_are_not_unique():
    """Four features, each of two in two latents; the matching can use each feature once."""
    learned = EYE[[0, 1, 0, 1]]
    found = match(learned, EYE[:4])
    np.testing.assert_array_equal(found.best, [0, 1, 0, 1])
    assert found.uniqueness == 0.5 and found.mcc == 0.5
    got = scores(learned, EYE[:4], [(TRUE[:, [0, 1, 0, 1]], TRUE[:, :4])])
    assert got["f1"] == 1.0 and got["l0"] == 2 * (TRUE[:, :2] > 0).sum(1).mean()


def test_dead_latents_count_as_zero():
    learned = np.concatenate([EYE, np.zeros((2, 6))])
    got = scores(learned, EYE, [(np.pad(TRUE, ((0, 0), (0, 2))), TRUE)])
    assert got["f1"] == pytest.approx(6 / 8) and got["mcc"] == 1.0 and got["uniqueness"] == 6 / 8


@pytest.mark.parametrize(("width", "count"), [(4, 4), (3, 5), (5, 3)])
def test_the_matching_is_the_best_of_all(width, count):
    a, b = RNG.normal(size=(width, 3)), RNG.normal(size=(count, 3))
    unit = [v / np.linalg.norm(v, axis=1, keepdims=True) for v in (a, b)]
    cosines = np.abs(unit[0] @ unit[1].T)
    table = cosines if width <= count else cosines.T
    sums = [
        table[np.arange(len(table)), list(p)].mean()
        for p in permutations(range(table.shape[1]), len(table))
    ]
    found = match(a, b)
    assert found.mcc == pytest.approx(max(sums))
    np.testing.assert_array_equal(found.best, cosines.argmax(1))
    np.testing.assert_allclose(found.best_cosine, cosines.max(1))
    np.testing.assert_allclose(found.cosine, cosines[found.latents, found.features])


def test_f1_by_its_definition_and_in_chunks():
    learned, true = RNG.normal(size=(7, 5)), RNG.normal(size=(9, 5))
    latents = RNG.normal(size=(100, 7)) * (RNG.random((100, 7)) < 0.3)
    active = RNG.random((100, 9)) * (RNG.random((100, 9)) < 0.4)
    found = match(learned, true)
    tally = Tally(found)
    for rows in (slice(0, 33), slice(33, 34), slice(34, 34), slice(34, 100)):
        tally.add(latents[rows], active[rows])
    for j in range(7):
        fires, is_active = latents[:, j] != 0, active[:, found.best[j]] != 0
        hits = (fires & is_active).sum()
        precision, recall = hits / fires.sum(), hits / is_active.sum()
        assert tally.precision()[j] == precision and tally.recall()[j] == recall
        assert tally.f1()[j] == pytest.approx(2 * precision * recall / (precision + recall))
    assert tally.samples == 100
    whole = scores(learned, true, [(latents, active)])
    assert whole["f1"] == tally.f1().mean()


# Feature 0 is the parent of 1 and 2, and feature 3 that of 4; 5 is alone.
PARENTS = np.array([-1, 0, 0, -1, 3, -1])
NESTED = np.array(
    [
        [1, 1, 0, 0, 0, 0],
        [1, 0, 1, 0, 0, 1],
        [1, 0, 0, 1, 0, 0],
        [1, 0, 0, 1, 1, 0],
        [0, 0, 0, 1, 1, 0],
        [0, 0, 0, 0, 0, 1],
        [1, 1, 0, 1, 0, 0],
    ],
    np.float32,
)


def absorbing(active):
    """Latent 0 is silent under child 1, whose latent has the direction of its parent too."""
    directions, latents = EYE.copy(), active.copy()
    directions[1] = (EYE[0] + EYE[1]) / np.sqrt(2)
    latents[:, 0] *= active[:, 1] == 0
    return directions, latents


def test_a_dictionary_of_the_features_absorbs_nothing():
    got = scores(EYE, EYE, [(NESTED, NESTED)], PARENTS)
    assert got["absorption"] == 0 and got["absorption_missed"] == 0


def test_a_parent_latent_that_heeds_a_child_absorbs_it():
    directions, latents = absorbing(NESTED)
    tally = Tally(match(directions, EYE), PARENTS)
    tally.add(latents, NESTED)
    got = tally.absorption.result()
    assert got.rate == pytest.approx(1 / 3) and got.children == 3 and got.missed == 0


def test_a_latent_that_is_often_silent_is_told_apart_from_absorption():
    """Latent 3 is silent in one of the two samples with feature 3 and without feature 4."""
    latents = NESTED.copy()
    latents[2, 3] = 0
    got = scores(EYE, EYE, [(latents, NESTED)], PARENTS)
    assert got["absorption"] == 0
    assert got["absorption_missed"] == pytest.approx(np.mean([0, 1 / 2]))


def test_a_parent_without_a_latent_is_not_counted():
    directions, latents = EYE[1:], NESTED[:, 1:]
    tally = Tally(match(directions, EYE), PARENTS)
    tally.add(latents, NESTED)
    assert tally.absorption.result().children == 1  # feature 4
    far = AbsorptionTally(match(EYE, EYE), PARENTS, least_cosine=1.5)
    far.add(NESTED > 0, NESTED > 0)
    assert far.result().children == 0 and math.isnan(far.result().rate)
    none = scores(EYE, EYE, [(NESTED, NESTED)], np.full(6, -1))
    assert math.isnan(none["absorption"])


def test_absorption_by_its_definition():
    """Against loops over samples and children, with random latents in chunks."""
    parents = np.array([-1, -1, 0, 0, 1, 1, 2, 2, 4])
    active = RNG.random((300, 9)) < 0.6
    for child in range(2, 9):
        active[:, child] &= active[:, parents[child]]
    fires, order = RNG.random((300, 9)) < 0.7, RNG.permutation(9)
    tally = Tally(match(np.eye(9)[order], np.eye(9)), parents)
    for rows in np.array_split(np.arange(300), 7):
        tally.add(1.0 * fires[rows], 1.0 * active[rows])
    latent = np.argsort(order)
    rates = [1 - fires[active[:, c], latent[parents[c]]].mean() for c in range(2, 9)]
    missed = []
    for p in (0, 1, 2, 4):
        alone = active[:, p] & ~active[:, parents == p].any(1)
        missed.append(1 - fires[alone, latent[p]].mean())
    got = tally.absorption.result()
    assert got.rate == pytest.approx(np.mean(rates)) and got.missed == pytest.approx(
        np.mean(missed)
    )


def test_on_the_matryoshka_toy():
    """A latent of each feature; then each child's latent has absorbed its parent's direction."""
    law = MatryoshkaToy().build(0)
    active = law.data(2000, activations=True).read(np.arange(2000))["activations"]
    features, parents = np.asarray(law.features), law.parents
    perfect = scores(features, features, [(active, active)], parents)
    assert {name: perfect[name] for name in ONES} == pytest.approx(ONES)
    assert perfect["absorption"] == 0
    learned, latents = features.copy(), active.copy()
    for child in np.flatnonzero(parents >= 0):
        learned[child] += features[parents[child]]
        latents[:, parents[child]] *= active[:, child] == 0
    got = scores(learned, features, [(latents, active)], parents)
    assert got["absorption"] == 1 and got["absorption_missed"] == 0
    lengths = np.linalg.norm(features, axis=1)
    child = np.flatnonzero(parents >= 0)
    cosines = lengths[child] / np.hypot(lengths[child], lengths[parents[child]])
    assert got["mcc"] == pytest.approx((11 + cosines.sum()) / 20)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: match(EYE[0], EYE), r"learned has shape \[6\]: needs one direction a row"),
        (lambda: match(EYE, EYE[:0]), r"true has shape \[0, 6\]: needs one direction a row"),
        (lambda: match(EYE, np.eye(5)), "learned has directions in 6 dimensions and true in 5"),
        (lambda: match(EYE, EYE * [[1], [np.nan], [1], [1], [1], [1]]), r"true\[1\] is not finite"),
        (lambda: scores(EYE, EYE, []), "chunks: has no samples"),
        (lambda: scores(EYE, EYE, [(TRUE[:, :5], TRUE)]), r"learned has shape \[400, 5\]: needs"),
        (lambda: scores(EYE, EYE, [(TRUE, TRUE[:, :5])]), r"true has shape \[400, 5\]: needs"),
        (lambda: scores(EYE, EYE, [(TRUE, TRUE[:9])]), r"true has shape \[9, 6\]: needs \[n, 6\]"),
        (
            lambda: scores(EYE, EYE, [], [-1, 0]),
            r"parents is int64\[2\]: needs an integer for each",
        ),
        (lambda: scores(EYE, EYE, [], np.zeros(6)), r"parents is float64\[6\]: needs an integer"),
        (
            lambda: scores(EYE, EYE, [], [6] * 6),
            r"parents has values in \[6, 6\]: needs the numbers",
        ),
        (lambda: scores(EYE, EYE, [], [-2] * 6), r"parents has values in \[-2, -2\]"),
    ],
)
def test_what_does_not_fit_is_one_line(call, message):
    with pytest.raises(ValueError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
