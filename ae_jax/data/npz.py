"""NumPy's .npz and .npy files, read without pickle and without trusting their headers."""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from ae_jax.data.splits import hold_out, require_split
from ae_jax.data.validate import validated
from ae_jax.files import read_exactly

# OSError: after the file is open, a damaged directory may point to an offset that does not exist.
DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError, OSError)


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """Read all arrays of an .npz file; checksums are verified and object arrays are refused.

    Raises:
      ValueError: it is not an .npz file of plain arrays, or it is damaged.
      OSError: the file cannot be opened.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist: give the path of an .npz file")
    with path.open("rb") as raw:
        try:
            with zipfile.ZipFile(raw) as archive:
                return {
                    info.filename.removesuffix(".npy"): _read_member(archive, info)
                    for info in archive.infolist()
                }
        except DAMAGED as error:
            raise ValueError(f"{path} is not a complete .npz file: {error}") from error


def _read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> np.ndarray:
    if info.flag_bits & 1:
        raise ValueError("it is encrypted")
    with archive.open(info) as member:
        return _read_array(cast(BinaryIO, member), info.filename)


def _read_array(stream: BinaryIO, name: str) -> np.ndarray:
    if (version := np.lib.format.read_magic(stream)) != (1, 0):
        raise ValueError(f"{name} is an .npy file of version {version}, not (1, 0)")
    shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(stream)
    if dtype.hasobject:
        raise ValueError(f"{name} contains pickled objects, which are never read")
    data = read_exactly(stream, math.prod(shape) * dtype.itemsize)
    return np.ndarray(shape, dtype, data, order="F" if fortran_order else "C")


def read_npy(path: Path) -> np.ndarray:
    """Read an .npy file; object arrays are refused.

    Raises:
      ValueError: it is not an .npy file of a plain array, or it is damaged.
      OSError: the file cannot be opened.
    """
    with path.open("rb") as stream:
        try:
            return _read_array(stream, "it")
        except (ValueError, EOFError) as error:
            raise ValueError(f"{path} is not a complete .npy file: {error}") from error


def load_npy(path: Path, split: str) -> dict[str, np.ndarray]:
    """Load a split of an .npy file: one array of examples, as `load_npz` reads "x"."""
    require_split(split, ("train", "test"), path)
    return _loaded({"x": read_npy(path)}, split, path)


def load_npz(path: Path, split: str) -> dict[str, np.ndarray]:
    """Load a split of an .npz file.

    The file contains either "x_train" and "x_test", and optionally "y_train" and "y_test" (the
    names of Keras), or one set: "x" and optionally "y" or "label", "length" and "mask".
    `splits.hold_out` puts a fixed fifth of one set into the test split. "y" is the label if it is
    one integer per example. Further columns, one row per example, are kept: "angle", or
    "angle_train" and "angle_test". uint8 arrays `[N, H, W]` are images and get a channel axis.
    Floats of any event shape become float32.

    Returns:
      {"x": uint8 [N, H, W, C] or float32 [N, ...event], "label": int32 [N], ...}

    Raises:
      ValueError, TypeError: an unknown split, a damaged file, or an error of `validated`.
      OSError: the file cannot be opened.
    """
    require_split(split, ("train", "test"), path)
    return _loaded(read_npz(path), split, path)


def has_splits(path: Path) -> bool:
    """Whether an .npz file has splits of its own: only the names of its arrays are read."""
    with np.load(path, allow_pickle=False) as arrays:
        return any(name.endswith("_train") for name in arrays.files)


def _loaded(arrays: Mapping[str, np.ndarray], split: str, path: Path) -> dict[str, np.ndarray]:
    whole = "x" in arrays
    if not whole and f"x_{split}" not in arrays:
        raise ValueError(
            f"{path} contains {', '.join(sorted(arrays)) or 'no array'}: "
            f"needs x_{split} (and y_{split}), or x (and label)"
        )
    of_splits = [key for key in arrays if key.endswith(("_train", "_test"))]
    if whole and of_splits:
        raise ValueError(
            f"{path} contains {of_splits[0]!r} beside 'x': end the name of every array in _train "
            "or _test, or of none"
        )
    data = _with_label(arrays if whole else _of_split(arrays, split, path))
    try:
        data = validated(data)
        if whole:
            data = validated(hold_out(data, split))
    except (TypeError, ValueError) as error:
        raise type(error)(f"{path}: {error}") from error
    if data["x"].dtype == np.uint8 and data["x"].ndim == 3:
        data["x"] = data["x"][..., None]
    return data


def _of_split(arrays: Mapping[str, np.ndarray], split: str, path: Path) -> dict[str, np.ndarray]:
    """The columns of one split: every array must belong to one."""
    if strays := [key for key in arrays if not key.endswith(("_train", "_test"))]:
        raise ValueError(
            f"{path} contains {strays[0]!r} beside x_train: end its name in _train or _test, or "
            "remove it"
        )
    suffix = f"_{split}"
    return {k.removesuffix(suffix): array for k, array in arrays.items() if k.endswith(suffix)}


def _with_label(data: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The columns with "y" as "label", if it is one integer per example."""
    y = data.get("y")
    if y is None or "label" in data or y.dtype.kind not in "iub" or y.shape[1:] not in ((), (1,)):
        return dict(data)
    # Keras stores the labels of some sets as a column.
    return {**{key: array for key, array in data.items() if key != "y"}, "label": y.reshape(-1)}
