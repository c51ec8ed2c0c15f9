"""Arrays inside a page: little-endian, deflated, base64 (`unpack` in decoder.js reads them)."""

import base64
import zlib
from typing import Any

import numpy as np

DTYPES = ("float32", "int32", "uint8")


def pack(array: np.ndarray) -> dict[str, Any]:
    """`array`, of one of `DTYPES`, as JSON without its shape."""
    if array.dtype.name not in DTYPES:
        raise TypeError(f"arrays in a page are {', '.join(DTYPES)}, got {array.dtype}")
    data = np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<")).tobytes()
    return {"dtype": array.dtype.name, "data": base64.b64encode(zlib.compress(data)).decode()}
