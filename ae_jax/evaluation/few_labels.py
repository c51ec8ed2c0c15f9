"""The accuracy of a linear classifier on features when only few labels are known."""

import numpy as np
from numpy.typing import ArrayLike
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits


def few_label_accuracy(
    train: ArrayLike,
    train_label: ArrayLike,
    test: ArrayLike,
    test_label: ArrayLike,
    *,
    count: int,
    draws: int = 5,
    seed: int = 0,
) -> np.ndarray:
    """Test accuracies [draws] of logistic regression on `count` labeled rows of `train`.

    Features are shifted to mean 0 and scaled, all by one factor, to mean variance 1, both measured
    on all rows of `train`. (A factor for each feature would amplify those that hardly vary.) The
    loss is the cross-entropy, summed over the labeled rows, plus ``|weights|^2 / 2``. The labeled
    rows depend only on `train_label`, `count` and `seed`, so features can be compared by draw.

    Args:
      train, test: features [N, ...] and [M, ...].
      train_label, test_label: classes [N] and [M].
      count: how many labels, 2 to N (see `balanced_rows`).
      draws: how often rows are drawn and a classifier is fitted.
      seed: seed of the draws.

    Raises:
      ValueError: `count` is not in 2 to N, or all labels are equal.
    """
    x, tested = (np.asarray(a, np.float32) for a in (train, test))
    x, tested = x.reshape(len(x), -1), tested.reshape(len(tested), -1)
    label = np.asarray(train_label)
    if not 2 <= count <= len(label):
        raise ValueError(
            f"count={count}: must be 2 to {len(label)}, the number of labeled examples"
        )
    if len(np.unique(label)) < 2:
        raise ValueError(f"all labels are {label[0]}: a classifier needs two classes")
    mean, scale = x.mean(0), np.sqrt(x.var(0).mean()) or 1.0
    x, tested = (x - mean) / scale, (tested - mean) / scale
    accuracies = []
    with threadpool_limits(1):  # more threads do not help with small matrices
        for draw in range(draws):
            rows = balanced_rows(label, count, np.random.default_rng((seed, draw)))
            model = LogisticRegression(max_iter=1000).fit(x[rows], label[rows])
            accuracies.append(np.mean(model.predict(tested) == np.asarray(test_label)))
    return np.array(accuracies)


def balanced_rows(label: ArrayLike, count: int, rng: np.random.Generator) -> np.ndarray:
    """`count` different random rows of `label` [N], balanced over classes as far as possible."""
    shuffled = rng.permutation(len(np.asarray(label)))
    labels = np.asarray(label)[shuffled]
    rank = np.empty(len(labels), int)  # of a row within its class
    for value in np.unique(labels):
        members = labels == value
        rank[members] = np.arange(members.sum())
    return shuffled[np.argsort(rank, kind="stable")[:count]]
