"""The subject of a measurement (a model and its data), and the result."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
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
    def decodes(self) -> bool:
        """Whether a row of numbers can be decoded: latents are one array, and enough by themselves."""
        if self.ae.given or self.ae.method("decode") is None:
            return False
        return isinstance(jax.eval_shape(self._encode_one), jax.ShapeDtypeStruct)

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """The shape of the latents of one example (see `decodes`)."""
        shape: tuple[int, ...] = jax.eval_shape(self._encode_one).shape[1:]
        return shape

    def _encode_one(self) -> Any:
        one = {name: column[:1] for name, column in self.test.items()}
        return self.ae.encode(self.variables, one["x"], **self.ae.encoder_columns(one))

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


def joined(parts: Sequence[Result]) -> Result:
    """One result of several."""
    return Result(
        metrics={name: each for part in parts for name, each in part.metrics.items()},
        conventions={name: each for part in parts for name, each in part.conventions.items()},
        figures={name: each for part in parts for name, each in part.figures.items()},
        skipped={name: each for part in parts for name, each in part.skipped.items()},
    )
