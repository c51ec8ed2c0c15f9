"""The forest in breadth-first order, and the probabilities that make up for it."""

import numpy as np
import pytest

from ae_jax.data.synthetic import Forest, SynthSAE


def test_the_trees_of_the_benchmark():
    forest = SynthSAE().forest
    assert [forest.width(level) for level in range(4)] == [128, 512, 2048, 8192]
    assert [forest.first(level) for level in range(4)] == [0, 128, 640, 2688]
    assert forest.size == 10_880


def test_parents_come_before_children_level_by_level():
    parents = Forest(2, 3, 2).parents(30)
    np.testing.assert_array_equal(parents[:8], [-1, -1, 0, 0, 0, 1, 1, 1])
    np.testing.assert_array_equal(parents[8:26], np.repeat(np.arange(2, 8), 3))
    assert (parents[26:] == -1).all()


@pytest.mark.parametrize(
    ("forest", "size"), [(Forest(3, 1, 2), 9), (Forest(4, 2, 0), 4), (Forest(0, 2, 2), 0)]
)
def test_chains_roots_and_no_trees(forest, size):
    assert forest.size == size
    parents = forest.parents(10)
    assert (parents >= 0).sum() == size - forest.width(0) and (parents[size:] == -1).all()


def test_conditional_probabilities_by_their_definition():
    base = np.array([0.4, 0.3, 0.1, 0.05, 0.02, 0.2, 0.2, 0.01])
    got = Forest(2, 2, 1).conditional(base)
    want = base.copy()
    for child, sibling, parent in ((2, 3, 0), (3, 2, 0), (4, 5, 1), (5, 4, 1)):
        want[child] *= 1 / base[parent] * (1 + base[sibling] / base[parent])
    np.testing.assert_allclose(got, np.minimum(want, 1))
    crowded = Forest(1, 2, 1).conditional(np.array([0.1, 0.09, 0.09]))
    np.testing.assert_array_equal(crowded[1:], 1)  # .9 times 1.9
