"""Batches: columns by name, checked and brought to floats in one place."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

Batch = Mapping[str, Any]
"""``"x"``: [B, ...]. It may have ``"label"`` [B], ``"mask"`` [B] (1 = a real row, 0 = padding),
``"length"`` [B] (real steps of each sequence, for ``x`` [B, T, ...]) and any further column."""

PROVIDED = ("mask", "step", "axis_name")
"""What the step gives a module that asks for it; no data set needs to have these."""

_ARGUMENTS = ("z", "n", "latents", "variables", "method", "rngs", "mutable")
RESERVED = ("x", "length", "scored", *PROVIDED, *_ARGUMENTS)
"""Names with a meaning of their own, or of arguments, which no further column can have."""

Support = Literal["real", "unit_interval", "bytes", "counts"]
"""The values that ``x`` may have: any; [0, 1]; k / 255 with k = 0, ..., 255; 0, 1, 2, ...
uint8 stands for k / 255."""


def as_floats(x: ArrayLike) -> Array:
    """uint8 pixels 0..255 -> float32 in [0, 1]; others as in `single`."""
    x = jnp.asarray(x)
    return x.astype(jnp.float32) / 255.0 if x.dtype == jnp.uint8 else single(x)


def single(x: ArrayLike) -> Array:
    """float64, which jax_enable_x64 lets in, -> float32; others pass through."""
    x = jnp.asarray(x)
    return x.astype(jnp.float32) if x.dtype == jnp.float64 else x


def refuse_masked(x: Any, name: str) -> None:
    """Raises `TypeError` for a masked array of NumPy, whose mask nothing here would read."""
    if isinstance(x, np.ma.MaskedArray):
        raise TypeError(f"{name} is a masked array: fill it, or give its mask as a column")


def checked_input(
    x: ArrayLike, event_shape: tuple[int, ...], name: str = "x", *, unit_interval: bool = False
) -> ArrayLike:
    """`x`, which must be ``[B, *event_shape]`` of uint8 or floats, maybe in the unit interval.

    Raises `ValueError` for another shape, or values outside [0, 1] in a NumPy array (a look at one
    of JAX would wait for the device); `TypeError` for other integers (is 255 a pixel or a value?)
    and for masked arrays, whose masks would be ignored.
    """
    refuse_masked(x, name)
    dtype, shape = jnp.result_type(x), np.shape(x)
    if shape[1:] != event_shape or not shape:
        event = ", ".join(map(str, event_shape))
        raise ValueError(f"{name} has shape {shape}; this model was built for [B, {event}]")
    if jnp.issubdtype(dtype, jnp.integer) and dtype != jnp.uint8:
        raise TypeError(
            f"{name} has dtype {dtype}: use {name}.astype(np.uint8) for pixels 0..255, or "
            f"{name}.astype(np.float32) for values taken as they are"
        )
    if unit_interval and isinstance(x, np.ndarray) and x.dtype != np.uint8 and x.size:
        low, high = x.min(), x.max()
        if low < 0 or high > 1:
            raise ValueError(
                f"{name} has values in [{low!s}, {high!s}], and this model was built for "
                "[0, 1]: rescale it as in training (pixels: divide by 255)"
            )
    return x


def floats_in(batch: Batch) -> dict[str, Array]:
    """The batch with every uint8 column as floats in [0, 1] (see `as_floats`)."""
    return {name: as_floats(column) for name, column in batch.items()}


def module_columns(
    columns: Mapping[str, tuple[int, ...]],
    batch: Batch,
    step: ArrayLike,
    axis_name: str | None = None,
) -> dict[str, Any]:
    """The keywords of ``module.__call__`` beside x (see `Autoencoder.columns`)."""
    provided: dict[str, Any] = {"step": jnp.asarray(step), "axis_name": axis_name}
    optional = {name: batch[name] for name in ("mask", "length") if name in batch}
    if "length" in batch and "length" not in columns:
        raise ValueError("length: this model does not read sequences of several lengths")
    keywords: dict[str, Any] = {}
    for name in columns:
        if name in provided:
            keywords[name] = provided[name]
        elif name in ("mask", "length"):
            if name in optional:
                keywords[name] = optional[name]
        elif name in batch:
            keywords[name] = batch[name]
        else:
            raise ValueError(
                f"the model reads {name!r}, which the data lacks: it has {sorted(batch)}"
            )
    return keywords


def example_columns(
    columns: Mapping[str, tuple[int, ...]], integers: Sequence[str], rows: int = 1
) -> dict[str, Array]:
    """Zeros for each column, to trace a module with: `integers` and steps int32, others float32."""
    return {
        name: jnp.zeros(
            () if name == "step" else (rows, *shape),
            jnp.int32 if name in ("step", *integers) else jnp.float32,
        )
        for name, shape in columns.items()
        if name not in ("mask", "length", "axis_name")
    }


def event_mask(batch: Batch) -> Array | None:
    """Which elements of ``x`` [B, T, ...] count: [B, T, 1, ...], or None without ``length``.

    A model that predicts some elements only marks them in ``"scored"`` [B, T, ...], booleans.
    """
    scored: Array | None = batch.get("scored")
    if "length" not in batch:
        return scored
    x, length = batch["x"], batch["length"]
    real: Array = jnp.arange(x.shape[1]) < length[:, None]  # [B, T]
    real = real.reshape(real.shape + (1,) * (x.ndim - 2))
    return real if scored is None else real & scored
