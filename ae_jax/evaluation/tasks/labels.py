"""The labels of a subject's data: whether there are classes, and the examples with a known one."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ae_jax.evaluation.tasks.subject import Subject


def labels_misfit(subject: Subject) -> str | None:
    """One line on why the labels are no classes that can be told apart, or None."""
    if "label" not in subject.train or "label" not in subject.test:
        return f"{subject.name} has no labels"
    label = np.asarray(labeled(subject.train)["label"])
    if label.dtype.kind not in "iu":
        return f"the labels of {subject.name} are {label.dtype}, not classes"
    if len(np.unique(label)) < 2:
        return f"all training examples have the label {label[0]}" if len(label) else "no labels"
    return None


def labeled(data: Mapping[str, Any]) -> dict[str, Any]:
    """The examples of `data` whose class is known: it is not negative."""
    label = np.asarray(data["label"])
    known = label >= 0 if label.dtype.kind in "iu" else np.ones(len(label), bool)
    if known.all():
        return dict(data)
    return {name: column[known] for name, column in data.items()}
