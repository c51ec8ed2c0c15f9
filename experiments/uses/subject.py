"""What is measured, and what a measurement gives."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import jax
import numpy as np
from matplotlib.figure import Figure

from ae_jax.evaluation.batches import in_batches
from ae_jax.objective import Autoencoder, Batch, Variables


@dataclass(frozen=True)
class Subject:
    """A trained model, and the data it is measured on: ``"x"`` [N, ...], maybe ``"label"``.

    `train` and `test` are as in training. `everything` is the whole test split: with
    ``data.keep_labels`` the model was trained, and `test` is, on the classes `normal` only.
    """

    ae: Autoencoder
    variables: Variables
    train: Mapping[str, np.ndarray]
    test: Mapping[str, np.ndarray]
    everything: Mapping[str, np.ndarray]
    name: str = "data"
    normal: tuple[int, ...] | None = None
    seed: int = 0

    @cached_property
    def train_codes(self) -> np.ndarray:
        """Codes of the training set, flat: [N, K]."""
        return self.codes(self.train)

    @cached_property
    def test_codes(self) -> np.ndarray:
        """Codes of the test set, flat: [N, K]."""
        return self.codes(self.test)

    def codes(self, data: Mapping[str, np.ndarray]) -> np.ndarray:
        """Codes of `data`, without noise, flat: [N, K]."""

        def encode(variables: Variables, batch: Batch) -> jax.Array:
            z = self.ae.encode(variables, batch["x"], batch.get("length"))
            return z.reshape(len(z), -1)

        found: np.ndarray = in_batches(encode, self.variables, data)
        return found

    @property
    def are_images(self) -> bool:
        """Whether examples are images [H, W, 1] or [H, W, 3] (sequences and vectors are not)."""
        shape = self.ae.event_shape
        return len(shape) == 3 and shape[2] in (1, 3) and min(shape[:2]) > 2


class Result(NamedTuple):
    """What a use of the model gave.

    `figures` are numbers, or lists or dicts of them, by name; `conventions` say by name what they
    mean (sum or mean, unit); `pictures` are figures by file name, without ".png"; `notes` are lines
    on what to know about them, what was left out and why.
    """

    figures: Mapping[str, Any]
    conventions: Mapping[str, str]
    pictures: Mapping[str, Figure]
    notes: Sequence[str] = ()
