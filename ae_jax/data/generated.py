"""Data that is computed from row numbers, where it is used: no file, and no array of examples."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import KW_ONLY, dataclass, fields
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from ae_jax.spec import require

MOST_ROWS = 2**31 - 1
READ = 1024
"""Rows that are computed at a time when the host reads them."""
Rows = Callable[[Any, Array], Mapping[str, Array]]
"""``fn(arrays, rows) -> {"x": [B, ...], ...}`` for rows [B] of int32."""
_DTYPES = ("uint8", "int32", "float32")


@jax.tree_util.register_pytree_node_class
@dataclass(frozen=True, eq=False)
class Generated(Mapping[str, "Column"]):
    """A data set whose rows are a pure function of their numbers, for `ae_jax.training.fit`.

    The function runs on the device, inside the compiled train step. So a set may have up to
    2^31 - 1 rows and takes no memory. It is a mapping of `Column`, which have shapes and can be
    indexed on the host, and a pytree with the leaves `arrays`, so a program can have it as an
    argument.

    Raises `ValueError` or `TypeError`, one line, if `fn` or another field cannot work.
    """

    fn: Rows
    """``fn(arrays, rows) -> {"x": [B, ...], ...}``: pure, compiled by jax, with rows [B] of int32,
    0 .. 2^31 - 1. A row of its result depends on that row's number only. "x" is uint8 or float32;
    further columns [B, ...] may be int32 too (see `ae_jax.data.validated`)."""
    length: int
    """Rows in an epoch."""
    _: KW_ONLY
    arrays: Any = ()
    """Arrays that `fn` reads, such as a matrix of features: arguments of the compiled program."""
    identity: Any
    """What determines the rows, as JSON-ready data: a specification and its seeds. A resumed run
    compares it, because no row is stored."""
    fresh: bool = False
    """Which rows an epoch has. False: rows 0 .. length - 1, in a new random order each epoch, as of
    an array; that order is an array. True: epoch e has the rows e * length .. (e + 1) * length - 1
    modulo 2^31, in this order, which needs no memory. It is for rows that are independent draws:
    before the numbers run out, no row is seen twice. As `eval_data`, a set has its first rows every
    time."""

    def __post_init__(self) -> None:
        ok = isinstance(self.length, int | np.integer) and 1 <= self.length <= MOST_ROWS
        require(ok, "length", self.length, "must be an integer in [1, 2**31 - 1]")
        require(callable(self.fn), "fn", self.fn, "must be a function of (arrays, rows)")
        try:
            json.dumps(self.identity)
        except (TypeError, ValueError) as error:
            raise TypeError(f"identity: must be JSON-ready data: {error}") from None
        for leaf in jax.tree.leaves(self.arrays):
            if not isinstance(leaf, np.ndarray | np.generic | Array):
                raise TypeError(f"arrays: {leaf!r} is no array: use np.asarray({leaf!r})")
        shapes = self.shapes
        if not isinstance(shapes, Mapping) or "x" not in shapes:
            raise ValueError(f"fn: must return a mapping with 'x', and returns {shapes}")
        for name, column in shapes.items():
            needs = "[1, ...event]" if name == "x" else "[1, ...]"
            if column.shape[:1] != (1,) or (name == "x" and len(column.shape) < 2):
                raise ValueError(
                    f"fn: {name} has shape {list(column.shape)} for one row: needs {needs}"
                )
            dtypes = _DTYPES if name != "x" else ("uint8", "float32")
            if column.dtype.name not in dtypes:
                raise TypeError(
                    f"fn: {name} has dtype {column.dtype}: use one of {', '.join(dtypes)}"
                )

    def at(self, rows: Array) -> dict[str, Array]:
        """The columns of `rows` [B] of int32: to be called inside a compiled program."""
        return dict(self.fn(self.arrays, rows))

    def read(self, rows: Any) -> dict[str, np.ndarray]:
        """The columns of `rows` [n], integers in [0, 2^31), as arrays on the host.

        Raises `ValueError` for other row numbers.
        """
        return self._read(rows, tuple(self))

    @cached_property
    def shapes(self) -> Mapping[str, jax.ShapeDtypeStruct]:
        """The shape and dtype of the columns of one row."""
        return jax.eval_shape(self.fn, self.arrays, jax.ShapeDtypeStruct((1,), jnp.int32))

    def checksum(self) -> str:
        """Eight digits that change with the identity, and with `fresh`."""
        text = json.dumps([self.identity, self.fresh], sort_keys=True)
        return f"{zlib.crc32(text.encode()):08x}"

    def __getitem__(self, name: str) -> Column:
        if name not in self.shapes:
            raise KeyError(name)
        return Column(self, name)

    def __iter__(self) -> Iterator[str]:
        return iter(self.shapes)

    def __len__(self) -> int:
        """The number of columns, as of every mapping; `length` is the number of rows."""
        return len(self.shapes)

    def tree_flatten(self) -> tuple[tuple[Any], tuple[Any, ...]]:
        identity = json.dumps(self.identity, sort_keys=True)
        return (self.arrays,), (self.fn, self.length, identity, self.fresh)

    @classmethod
    def tree_unflatten(cls, static: tuple[Any, ...], leaves: tuple[Any]) -> Generated:
        new = object.__new__(cls)  # leaves may be shapes or shardings, which cannot be checked
        fn, length, identity, fresh = static
        values = (fn, length, leaves[0], json.loads(identity), fresh)
        for field, value in zip(fields(cls), values, strict=True):
            object.__setattr__(new, field.name, value)
        return new

    @cached_property
    def _compiled(self) -> Any:
        return jax.jit(lambda data, rows, names: _some(data.at(rows), names), static_argnums=2)

    def _read(self, rows: Any, names: tuple[str, ...]) -> dict[str, np.ndarray]:
        rows = np.asarray(rows)
        if rows.ndim != 1 or rows.dtype.kind not in "iu":
            raise ValueError(f"rows: {rows.dtype}{list(rows.shape)}: needs integers [n]")
        if rows.size and not 0 <= rows.min() <= rows.max() <= MOST_ROWS:
            raise ValueError(f"rows: {rows.min()} .. {rows.max()}: must lie in [0, 2**31)")
        # Few lengths, because each is compiled.
        size = min(READ, 1 << max(len(rows) - 1, 0).bit_length())
        padded = np.resize(rows, -(-max(len(rows), 1) // size) * size) if rows.size else [0]
        parts = [
            jax.device_get(self._compiled(self, jnp.asarray(part, jnp.int32), names))
            for part in np.reshape(padded, (-1, size))
        ]
        return {name: np.concatenate([part[name] for part in parts])[: len(rows)] for name in names}


@dataclass(frozen=True, eq=False)
class Column:
    """A column of `Generated`, indexed by row numbers or slices like an array [N, ...]."""

    data: Generated
    name: str

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.data.length, *self.data.shapes[self.name].shape[1:])

    @property
    def dtype(self) -> np.dtype:
        return np.dtype(self.data.shapes[self.name].dtype)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def __len__(self) -> int:
        return self.data.length

    def __getitem__(self, rows: Any) -> np.ndarray:
        """The rows as an array on the host: [n, ...]. Raises `ValueError` for wrong numbers."""
        if isinstance(rows, slice):
            rows = np.arange(*rows.indices(len(self)))
        return self.data._read(rows, (self.name,))[self.name]

    def __array__(self, *_: Any, **__: Any) -> np.ndarray:
        raise TypeError(
            "this data is generated where it is used: for arrays read the rows that are needed, "
            "such as data.read(np.arange(1000))"
        )


def _some(batch: Mapping[str, Array], names: tuple[str, ...]) -> dict[str, Array]:
    return {name: batch[name] for name in names}
