"""A forest of features in breadth-first order: equal trees, with features outside of them."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Forest:
    """`roots` trees of `depth` levels below the root, each node with `children` children.

    Features are numbered level by level, so siblings have consecutive numbers. Features from `size`
    on belong to no tree.
    """

    roots: int
    children: int
    depth: int

    def width(self, level: int) -> int:
        """The number of features in a level; the roots are level 0."""
        return self.roots * self.children**level

    def first(self, level: int) -> int:
        """The number of the first feature in a level."""
        return sum(map(self.width, range(level)))

    @property
    def size(self) -> int:
        """The number of features in the trees."""
        return self.first(self.depth + 1)

    def parents(self, count: int) -> np.ndarray:
        """The parent of each of `count` features, or -1: [count] of int32."""
        parents = np.full(count, -1, np.int32)
        for level in range(1, self.depth + 1):
            below = np.arange(self.width(level))
            parents[self.first(level) + below] = self.first(level - 1) + below // self.children
        return parents

    def conditional(self, base: np.ndarray) -> np.ndarray:
        """Firing probabilities under an active parent that make up for the tree: [N].

        A child's probability p is multiplied by ``1 / p_parent``, and by ``1 + s / p_parent`` with
        the sum s over its siblings, which exclude it. It is at most 1. Others keep theirs.
        """
        parents = self.parents(len(base))
        child = parents >= 0
        above = base[parents[child]]
        siblings = np.zeros_like(base)
        np.add.at(siblings, parents[child], base[child])
        others = np.maximum(siblings[parents[child]] - base[child], 0)
        corrected = base.copy()
        corrected[child] *= (1 + others / above) / above
        return np.minimum(corrected, 1.0)
