"""Static binarized MNIST: 28x28 images whose pixels were drawn once, and are 0 or 1.

Likelihoods of binary images are compared on this set (Larochelle & Murray, The neural
autoregressive distribution estimator, 2011). It has 50,000, 10,000 and 10,000 images and no labels.
Two forms are read:

* ``static_mnist.npz`` with ``train``, ``valid`` and ``test``, uint8 [N, 98]: eight pixels a byte,
  as `np.packbits` writes them;
* the original ``binarized_mnist_train.amat``, ``..._valid.amat`` and ``..._test.amat``: text, 784
  digits a line.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ae_jax.data.npz import read_npz
from ae_jax.data.splits import require_split

NAME = "static_mnist"
SPLITS = ("train", "valid", "test")
PACKED = f"{NAME}.npz"
SIDE = 28
PIXELS = SIDE * SIDE
SPACES = np.frombuffer(b" \n\r\t", np.uint8)


def find(place: Path, *, nested: bool = True) -> Path | None:
    """The file, or the folder of .amat files, that `place` is or holds, or None.

    With `nested` they may be in its folder ``static_mnist``.
    """
    if place.is_file():
        return place if place.name == PACKED else None
    for folder in (place, place / NAME) if nested else (place,):
        if (folder / PACKED).is_file():
            return folder / PACKED
        if any(_text(folder, split).is_file() for split in SPLITS):
            return folder
    return None


def load_static(place: Path, split: str) -> dict[str, np.ndarray]:
    """Load a split from what `find` returned.

    Returns:
      {"x": uint8 [N, 28, 28, 1]}, each pixel 0 or 255

    Raises:
      FileNotFoundError: the folder has no file of this split.
      ValueError: an unknown split, or a damaged file.
    """
    require_split(split, SPLITS, place)
    bits = _read_packed(place, split) if place.is_file() else _read_text(_text(place, split))
    return {"x": (bits * np.uint8(255)).reshape(-1, SIDE, SIDE, 1)}


def _text(folder: Path, split: str) -> Path:
    return folder / f"binarized_mnist_{split}.amat"


def _read_packed(path: Path, split: str) -> np.ndarray:
    packed = read_npz(path).get(split)
    if packed is None or packed.dtype != np.uint8 or packed.shape[1:] != (PIXELS // 8,):
        about = "no such array" if packed is None else f"{packed.dtype} {list(packed.shape)}"
        raise ValueError(
            f"{path}: {split} must be uint8 [N, {PIXELS // 8}], eight pixels a byte, and is {about}"
        )
    return np.unpackbits(packed, axis=1)


def _read_text(path: Path) -> np.ndarray:
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist: copy the file there")
    text = np.fromfile(path, np.uint8)
    spaces = np.isin(text, SPACES)
    bits = text[~spaces] - ord("0")
    ends = np.flatnonzero(text == ord("\n")) + 1
    starts = np.concatenate([[0], ends])
    counts = np.add.reduceat(~spaces, starts[starts < len(text)], dtype=np.int64)
    if not len(bits) or (bits > 1).any() or (counts != PIXELS).any():
        raise ValueError(f"{path}: every line must be {PIXELS} digits, each 0 or 1")
    return bits
