"""What is measured, and what a measurement gives."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from ae_jax.core import Autoencoder, Variables
from ae_jax.evaluation.latents import encode_all
from ae_jax.evaluation.ssim import are_images


@dataclass(frozen=True)
class Subject:
    """A trained model, and the data it is measured on: ``"x"`` [N, ...], maybe ``"label"``.

    `train` and `test` are as in training. `everything` is the whole test split, of which `test` is
    a part where ``data.keep_labels`` chose classes to train on.
    """

    ae: Autoencoder
    variables: Variables
    train: Mapping[str, np.ndarray]
    test: Mapping[str, np.ndarray]
    everything: Mapping[str, np.ndarray]
    name: str = "data"
    seed: int = 0

    @cached_property
    def train_latents(self) -> np.ndarray:
        """Codes of the training set, flat: [N, K]."""
        return self.codes(self.train)

    @cached_property
    def test_latents(self) -> np.ndarray:
        """Codes of the test set, flat: [N, K]."""
        return self.codes(self.test)

    def codes(self, data: Mapping[str, np.ndarray]) -> np.ndarray:
        """Codes of `data`, without noise, flat: [N, K]."""
        return encode_all(self.ae, self.variables, data)

    @property
    def in_unit_interval(self) -> bool:
        """Whether the test examples lie in [0, 1], as pixels do."""
        x = self.test["x"]
        return x.dtype == np.uint8 or bool(x.min() >= 0 and x.max() <= 1)

    @property
    def are_images(self) -> bool:
        """Whether examples are images [H, W, 1] or [H, W, 3] (sequences and vectors are not)."""
        return are_images(self.ae.event_shape)


def some(data: Mapping[str, np.ndarray], count: int) -> dict[str, np.ndarray]:
    """At most `count` examples of `data`, evenly spaced."""
    total = len(data["x"])
    rows = np.linspace(0, total - 1, min(count, total)).astype(int)
    return {name: column[rows] for name, column in data.items()}


class Result(NamedTuple):
    """What a use of the model gave.

    `figures` are numbers, or lists or dicts of them, by name; `conventions` say by name what they
    mean (sum or mean, unit); `pictures` are figures by file name, without ".png"; `left_out` says
    by name why a part does not fit the model or the data.
    """

    figures: Mapping[str, Any]
    conventions: Mapping[str, str]
    pictures: Mapping[str, Figure]
    left_out: Mapping[str, str] = MappingProxyType({})


def joined(parts: Sequence[Result]) -> Result:
    """One result of several."""
    return Result(
        figures={name: each for part in parts for name, each in part.figures.items()},
        conventions={name: each for part in parts for name, each in part.conventions.items()},
        pictures={name: each for part in parts for name, each in part.pictures.items()},
        left_out={name: each for part in parts for name, each in part.left_out.items()},
    )
