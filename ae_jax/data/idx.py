"""The idx format of the MNIST files, plain or gzipped.

An idx file is the bytes `0, 0, type, rank`, then one big-endian uint32 per axis, then the values
(LeCun, Cortes and Burges, "The MNIST database of handwritten digits"). Images and labels are
unsigned bytes, type 8: the only type read here.
"""

from __future__ import annotations

import gzip
import hashlib
import math
import struct
import zlib
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from ae_jax.data.splits import require_split
from ae_jax.data.validate import validated
from ae_jax.files import read_exactly

PREFIXES = {"train": "train", "test": "t10k"}


def read_idx(path: Path) -> np.ndarray:
    """Read an idx file of unsigned bytes into a uint8 array; its header states the shape.

    Raises:
      ValueError: it is not an idx file of unsigned bytes, or it is damaged.
      OSError: the file cannot be opened.
    """
    with path.open("rb") as raw:
        gzipped = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        try:
            if not gzipped:
                return _read_stream(raw)
            with gzip.GzipFile(fileobj=raw) as stream:
                return _read_stream(cast(BinaryIO, stream))
        except (ValueError, EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise ValueError(f"{path} is not a complete idx file: {error}") from error


def _read_stream(stream: BinaryIO) -> np.ndarray:
    magic = stream.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0":
        raise ValueError(f"it starts with {magic!r}, not with the idx magic number")
    kind, rank = magic[2:]
    if kind != 8 or not 1 <= rank <= 4:
        raise ValueError(f"its type is {kind:#x} and its rank {rank}, not bytes (0x8) of rank 1-4")
    axes = stream.read(4 * rank)
    if len(axes) < 4 * rank:
        raise ValueError("it ends inside its header")
    shape = struct.unpack(f">{rank}I", axes)
    return np.frombuffer(read_exactly(stream, math.prod(shape)), np.uint8).reshape(shape)


def digest(array: np.ndarray) -> str:
    """Hexadecimal SHA-256 of the idx file that would contain this uint8 array."""
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    return hashlib.sha256(header + array.tobytes()).hexdigest()


def find(folder: Path, part: str) -> Path | None:
    """The path of an idx file, such as "train-images-idx3-ubyte", gzipped or not, or None."""
    candidates = (folder / part, folder / f"{part}.gz")
    return next((path for path in candidates if path.is_file()), None)


def holds_idx(folder: Path) -> bool:
    """Whether a folder contains at least the images of one split."""
    return any(find(folder, f"{prefix}-images-idx3-ubyte") for prefix in PREFIXES.values())


def read_part(folder: Path, part: str) -> np.ndarray:
    """Read the idx file `part` of a folder, gzipped or not.

    Raises:
      FileNotFoundError: the folder does not contain it.
      ValueError: see `read_idx`.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is not a folder: give the folder of the idx files")
    path = find(folder, part)
    if path is None:
        raise FileNotFoundError(f"{folder} has no {part} or {part}.gz: copy the file there")
    return read_idx(path)


def load_folder(folder: Path, split: str) -> dict[str, np.ndarray]:
    """Load a split from a folder with the four idx files of an MNIST-like set.

    Returns:
      {"x": uint8 [N, H, W, 1], "label": int32 [N]}

    Raises:
      FileNotFoundError: the folder or one of its files does not exist.
      ValueError: an unknown split, a damaged file, or images and labels that do not match.
    """
    require_split(split, PREFIXES, folder)
    images = read_part(folder, f"{PREFIXES[split]}-images-idx3-ubyte")
    labels = read_part(folder, f"{PREFIXES[split]}-labels-idx1-ubyte")
    if images.ndim != 3:
        raise ValueError(
            f"the {split} images in {folder} have shape {list(images.shape)}, not [N, H, W]"
        )
    try:
        return validated({"x": images[..., None], "label": labels})
    except ValueError as error:
        raise ValueError(f"the {split} split in {folder}: {error}") from error
