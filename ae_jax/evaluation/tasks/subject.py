"""The subject of a measurement (a model and its data), and the result."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import numpy as np
from matplotlib.figure import Figure

from ae_jax.core import Autoencoder, Variables
from ae_jax.data.real import UNIT, counted, value_range, within
from ae_jax.evaluation.latents import encode_all
from ae_jax.evaluation.ssim import are_images


@dataclass(frozen=True)
class Subject:
    """A trained model and its data: ``"x"`` [N, ...], maybe ``"label"`` [N] and further columns.

    `train` and `test` are the data of the training. `everything` is the full test split: it is
    larger than `test` if the model was trained only on examples with certain labels. Rows that
    ``"mask"`` excludes are removed here, and padded steps filled (see `counted`), so that no task
    sees what they held.
    """

    ae: Autoencoder
    variables: Variables
    train: Mapping[str, np.ndarray]
    test: Mapping[str, np.ndarray]
    everything: Mapping[str, np.ndarray]
    name: str = "data"
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("test", "everything", "train"):
            object.__setattr__(self, name, counted(getattr(self, name), like=self.train))

    @cached_property
    def train_latents(self) -> np.ndarray:
        """Flat latents of the training set: [N, K]."""
        return self.latents(self.train)

    @cached_property
    def test_latents(self) -> np.ndarray:
        """Flat latents of the test set: [N, K]."""
        return self.latents(self.test)

    def latents(self, data: Mapping[str, np.ndarray]) -> np.ndarray:
        """Flat latents of `data`, without noise: [N, K]."""
        return encode_all(self.ae, self.variables, data)

    @property
    def decodes(self) -> bool:
        """Whether rows of the flat latents can be decoded: the module has no other features, and
        needs no columns."""
        if self.ae.given or self.ae.method("decode") is None:
            return False
        return self.train_latents.shape[1] == sum(self.latent_sizes)

    @cached_property
    def latent_shapes(self) -> Any:
        """The latents of one example as shapes [1, ...]: in most models one, in others a tree."""
        return jax.eval_shape(self._encode_one)

    @property
    def latent_sizes(self) -> list[int]:
        """The sizes of the arrays that the flat latents of one example are made of, in order."""
        return [math.prod(leaf.shape) for leaf in jax.tree.leaves(self.latent_shapes)]

    def _encode_one(self) -> Any:
        one = {name: column[:1] for name, column in self.test.items()}
        return self.ae.encode(self.variables, one["x"], **self.ae.encoder_columns(one))

    @property
    def in_unit_interval(self) -> bool:
        """Whether the test examples lie in [0, 1], as pixels do."""
        return within(value_range(self.test), UNIT)

    @property
    def are_images(self) -> bool:
        """Whether examples are images [H, W, 1 or 3], and not sequences or vectors."""
        return are_images(self.ae.event_shape) and "length" not in self.test


class Result(NamedTuple):
    """The result of one task.

    Attributes:
      metrics: numbers, or lists or dicts of numbers, by name.
      conventions: the meaning of each metric, by the same names (sum or mean, unit).
      figures: figures by file name, without ".png".
      skipped: the reason for each part that does not fit the model or the data, by name.
    """

    metrics: Mapping[str, Any]
    conventions: Mapping[str, str]
    figures: Mapping[str, Figure]
    skipped: Mapping[str, str] = MappingProxyType({})


@contextmanager
def skipping(skipped: dict[str, str], name: str) -> Iterator[None]:
    """A part that stands or falls alone: its `ValueError` is the reason in `skipped`."""
    try:
        yield
    except ValueError as error:
        skipped[name] = str(error).partition("\n")[0]


def joined(parts: Sequence[Result]) -> Result:
    """Several results as one."""
    return Result(
        metrics={name: each for part in parts for name, each in part.metrics.items()},
        conventions={name: each for part in parts for name, each in part.conventions.items()},
        figures={name: each for part in parts for name, each in part.figures.items()},
        skipped={name: each for part in parts for name, each in part.skipped.items()},
    )
