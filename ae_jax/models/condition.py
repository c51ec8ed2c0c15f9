"""What a conditional model is given beside x: a column of the data, and how its parts read it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import DTypeLike

from ae_jax.core import RESERVED, Batch, Outputs, Term, reconstruction
from ae_jax.spec import Spec, require


@dataclass(frozen=True, kw_only=True)
class Condition(Spec):
    """A column c of the data: a class, or numbers of any shape.

    It is concatenated to the input of the encoder (to its features, if the network is no MLP) and
    to the latents before the decoder. Classes are one-hot vectors there.
    """

    kind: ClassVar[str] = "condition"

    column: str = "label"
    """Its name in the data."""
    classes: int | None = 10
    """Of a column of integers 0 .. classes - 1. None is for a column of numbers."""
    shape: tuple[int, ...] = ()
    """The shape of these numbers."""
    unknown: float | None = None
    """The value that marks the unknown elements of a column of x's own shape. Only these elements
    of x are predicted: the likelihood is theirs, and reconstructions repeat the known ones."""

    def __post_init__(self) -> None:
        super().__post_init__()
        name = self.column
        needs = "has a meaning of its own: give the column another name"
        require(bool(name) and name not in RESERVED, "column", name, needs)
        ok = self.unknown is None or math.isfinite(self.unknown)
        require(ok, "unknown", self.unknown, "must be a finite number, or None")
        if self.classes is None:
            require(all(n >= 1 for n in self.shape), "shape", self.shape, "must be positive")
            return
        require(self.classes >= 2, "classes", self.classes, "must be at least 2, or None")
        require(self.shape == (), "shape", self.shape, "is for numbers: use classes=None")
        needs = "is for a column of x's own shape: use classes=None and shape"
        require(self.unknown is None, "unknown", self.unknown, needs)

    def check_shape(self, event_shape: tuple[int, ...]) -> None:
        """Raises `ValueError` if unknown elements are marked in a column of another shape."""
        ok = self.unknown is None or self.shape == event_shape
        require(ok, "condition.shape", self.shape, f"must be that of x, {event_shape}")

    def check(self, columns: Mapping[str, np.ndarray], training: bool) -> None:
        """Raises `ValueError` for classes that do not exist (see `Autoencoder.check`)."""
        if self.classes is not None and self.column in columns:
            check_classes(self.column, columns, 0, self.classes)

    def embed(self, columns: Batch, dtype: DTypeLike = jnp.float32) -> Array:
        """c as one vector for each example: [B, classes], or its numbers in a row."""
        c = jnp.asarray(columns[self.column])
        if self.classes is not None:
            return jax.nn.one_hot(c, self.classes, dtype=dtype)
        return c.reshape(len(c), -1).astype(dtype)

    def scored(self, batch: Batch) -> Batch:
        """The batch with a mark of the elements of x that are predicted (see `event_mask`)."""
        if self.unknown is None:
            return batch
        return {**batch, "scored": batch[self.column] == self.unknown}

    def completed(self, outputs: Outputs, given: Batch) -> Outputs:
        """Outputs whose reconstructions, and draws of x, repeat the known elements."""
        if self.unknown is None:
            return outputs
        c, made = given[self.column], {"recon": reconstruction(outputs)}
        made |= {"x": outputs["x"]} if "x" in outputs else {}
        known = c != self.unknown
        return {**outputs, **{n: jnp.where(known, c, image) for n, image in made.items()}}

    def scoring(self, term: Any) -> Any:
        """`term` of the predicted elements alone."""
        if self.unknown is None or not isinstance(term, Term):
            return term
        fn = term.fn

        def of_scored(outputs: Outputs, batch: Batch) -> Array:
            return fn(outputs, self.scored(batch))

        return term._replace(fn=of_scored)


class ConditionalEncoder(nn.Module):
    """`inner`, beside whose input (`flat`) or features the condition stands: ``[B, features]``."""

    inner: nn.Module
    condition: Condition
    flat: bool

    @nn.compact
    def __call__(self, x: Array, **columns: Any) -> Array:
        c = self.condition.embed(columns, x.dtype)
        rest = {name: v for name, v in columns.items() if name != self.condition.column}
        if self.flat:
            h: Array = self.inner(jnp.concatenate([x.reshape(len(x), -1), c], axis=1), **rest)
            return h
        h = self.inner(x, **rest)
        return jnp.concatenate([h.reshape(len(h), -1), c.astype(h.dtype)], axis=1)


class ConditionalDecoder(nn.Module):
    """`inner`, beside whose latents the condition stands."""

    inner: nn.Module
    condition: Condition

    @nn.compact
    def __call__(self, z: Array, **given: Any) -> Array:
        c = self.condition.embed(given, z.dtype)
        h: Array = self.inner(jnp.concatenate([z, c], axis=1))
        return h


def check_classes(
    name: str, columns: Mapping[str, np.ndarray], first: int, classes: int
) -> np.ndarray:
    """The column `name`, of integers ``first .. classes - 1``, of rows that ``mask`` keeps.

    Raises `ValueError` for another value, or a column that is not of integers.
    """
    column = np.asarray(columns[name])
    if column.dtype.kind not in "iu" or column.dtype == np.uint8:  # which stands for pixels
        raise ValueError(f"{name} has dtype {column.dtype}: classes are integers, such as int32")
    if "mask" in columns:
        column = np.where(np.asarray(columns["mask"]) > 0, column, first)
    wrong = (column < first) | (column >= classes)
    if wrong.any():
        at = int(np.argmax(wrong))
        needs = f"must lie in [{first}, {classes - 1}], by classes={classes}"
        raise ValueError(f"{name}[{at}] is {column[at]}: {needs}")
    return column
