"""Arrays inside a page: little-endian, deflated, base64 (`unpack` in decoder.js reads them)."""

import base64
import zlib
from typing import Any

import numpy as np

from ae_jax.plots import drawn_as_image

DTYPES = ("float32", "int32", "uint8")


def pack(array: np.ndarray) -> dict[str, Any]:
    """`array`, of one of `DTYPES`, as JSON without its shape."""
    if array.dtype.name not in DTYPES:
        raise TypeError(f"arrays in a page are {', '.join(DTYPES)}, got {array.dtype}")
    data = np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<")).tobytes()
    return {"dtype": array.dtype.name, "data": base64.b64encode(zlib.compress(data)).decode()}


def drawable(x: np.ndarray, limits: tuple[float, float]) -> np.ndarray:
    """Examples [N, ...] for a page: images as uint8 between `limits`, others as float32."""
    images = drawn_as_image(x.shape[1:])
    if x.dtype == np.uint8:
        return x if images else x / np.float32(255)
    x = x.astype(np.float32)
    return as_bytes(x, limits) if images else x


def as_bytes(x: np.ndarray, limits: tuple[float, float]) -> np.ndarray:
    """Floats as uint8: the lower of `limits` is 0, the upper one 255."""
    low, high = limits
    return np.rint((x - low) / (high - low or 1.0) * 255).clip(0, 255).astype(np.uint8)
