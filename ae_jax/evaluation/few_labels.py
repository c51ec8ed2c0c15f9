"""How well a linear classifier of given features does with few labels."""

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
    """Test accuracies [draws], each of logistic regression on `count` labeled rows of `train`.

    All rows of `train`, without their labels, set the features' means to 0 and their mean variance
    to 1; a scale for each would raise what hardly varies to the weight of what does. The penalty is
    ``|weights|^2 / 2`` beside the cross-entropy summed over the labeled rows. These depend on
    `train_label`, `count` and `seed` only, so that features can be compared draw by draw.

    Args:
      train, test: features [N, ...] and [M, ...].
      train_label, test_label: classes [N] and [M].
      count: how many labels, 2 to N (see `balanced_rows`).
      draws: how often rows are drawn and a classifier is fitted.
      seed: of the draws.

    Raises:
      ValueError: for another `count`, or a single class.
    """
    x, tested = (np.asarray(a, np.float32) for a in (train, test))
    x, tested = x.reshape(len(x), -1), tested.reshape(len(tested), -1)
    label = np.asarray(train_label)
    if not 2 <= count <= len(label):
        raise ValueError(f"count={count}: must be 2 to {len(label)}, the examples with a label")
    if len(np.unique(label)) < 2:
        raise ValueError(f"all labels are {label[0]}: a classifier needs two classes")
    mean, scale = x.mean(0), np.sqrt(x.var(0).mean()) or 1.0
    x, tested = (x - mean) / scale, (tested - mean) / scale
    accuracies = []
    with threadpool_limits(1):  # for products as small as these, more threads mostly wait
        for draw in range(draws):
            rows = balanced_rows(label, count, np.random.default_rng((seed, draw)))
            model = LogisticRegression(max_iter=1000).fit(x[rows], label[rows])
            accuracies.append(np.mean(model.predict(tested) == np.asarray(test_label)))
    return np.array(accuracies)


def balanced_rows(label: ArrayLike, count: int, rng: np.random.Generator) -> np.ndarray:
    """`count` random rows of `label` [N], all different, as evenly from each class as there are."""
    shuffled = rng.permutation(len(np.asarray(label)))
    labels = np.asarray(label)[shuffled]
    place = np.empty(len(labels), int)  # of a row among those of its class
    for one in np.unique(labels):
        mine = labels == one
        place[mine] = np.arange(mine.sum())
    return shuffled[np.argsort(place, kind="stable")[:count]]
