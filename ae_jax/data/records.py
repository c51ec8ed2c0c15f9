"""Images of a prepared TFDS set that are decoded whenever they are read."""

from __future__ import annotations

import contextlib
import io
import logging
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np


class Records:
    """The images of a split, indexed by arrays of row numbers like an array [N, H, W, C].

    ``records[np.array([3, 1])]`` decodes two images, as uint8. Images of 16 bits become float32 in
    [0, 1], and float images are float32 as they are. `ae_jax.training.fit` streams from records of
    uint8, so that no decoded copy is needed on disk or in memory.

    Raises `ValueError` if the set is damaged or is not a set of single images. An image that is
    damaged, or of another size than the first one, raises `ValueError` when it is read.
    """

    ndim = 4

    def __init__(self, folder: Path, split: str) -> None:
        import tensorflow_datasets as tfds

        self.folder = folder
        try:
            builder = tfds.builder_from_directory(folder)
        except Exception as error:  # of protobuf, JSON or a lookup, depending on the damage
            raise ValueError(
                f"{folder / 'features.json'} is damaged: {type(error).__name__}"
            ) from error
        self._image, self._label = _image_and_label(builder.info.features, folder)
        self.files = sorted(folder.glob(f"{builder.name}-{split}.array_record-*"))
        # TFDS reads images of 16 bits only with OpenCV.
        wide = builder.info.features[self._image].np_dtype == np.uint16
        self._pixels = self._wide_pixels if wide else np.asarray
        decoders = {self._image: tfds.decode.SkipDecoding()} if wide else None
        with self._reading():
            self._source = builder.as_data_source(split, decoders=decoders)
            first = self._pixels(self._source[0][self._image])
        self.shape, self.dtype = (len(self._source), *first.shape), first.dtype

    @property
    def nbytes(self) -> int:
        """Bytes of the decoded images."""
        return math.prod(self.shape) * self.dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        return self.read(rows)["x"]

    def __array__(self, *_: Any, **__: Any) -> np.ndarray:
        raise TypeError("these images are decoded while training: load them with decode='once'")

    def read(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Decode rows: ``{"x": [n, H, W, C], "label": int32 [n]}`` ("label" if the set has it)."""
        x = np.empty((len(rows), *self.shape[1:]), self.dtype)
        labels = np.empty(len(rows), np.int32)
        with self._reading():
            # One call for many rows is faster than a call for each row.
            for i, example in enumerate(self._source.__getitems__(rows.tolist())):
                image = self._pixels(example[self._image])
                if image.shape != x.shape[1:]:
                    raise ValueError(
                        f"the images of {self.folder} differ in size, {x.shape[1:]} and "
                        f"{image.shape}: resize them to one size and save them as .npz"
                    )
                x[i] = image
                if self._label is not None:
                    labels[i] = example[self._label]
        return {"x": x} if self._label is None else {"x": x, "label": labels}

    def _wide_pixels(self, png: bytes) -> np.ndarray:
        """An image of 16 bits as float32 in [0, 1]: [H, W, 1]."""
        from PIL import Image

        with Image.open(io.BytesIO(png)) as image:
            pixels = np.asarray(image)
        if pixels.dtype != np.uint16:
            raise ValueError(
                f"{self.folder} has color images of 16 bits, which Pillow cannot read: save them "
                "as floats in an .npz file"
            )
        return (pixels[..., None] / 65535).astype(np.float32)

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            with _without_opencv_advice():
                yield
        except (RuntimeError, IndexError, OSError) as error:
            reason = " ".join(str(error).split())
            file = self.files[0] if self.files else self.folder
            raise ValueError(f"{file} or a file beside it is damaged: {reason}") from error


def _image_and_label(features: Any, folder: Path) -> tuple[str, str | None]:
    """The keys of the image and the label: "image" and "label", else the only one of its type."""
    from tensorflow_datasets.core import features as kinds

    def pick(kind: type, usual: str) -> str | None:
        keys = [key for key, feature in features.items() if type(feature) is kind]
        return usual if usual in keys else keys[0] if len(keys) == 1 else None

    image = pick(kinds.Image, "image")
    if image is None:
        raise ValueError(f"{folder} is not a set of single images: its features are {[*features]}")
    return image, pick(kinds.ClassLabel, "label")


@contextlib.contextmanager
def _without_opencv_advice() -> Iterator[None]:
    """Suppress the advice of TFDS to install OpenCV; Pillow decodes the same pixels."""
    logger = logging.getLogger("absl")

    def keep(record: logging.LogRecord) -> bool:
        return "OpenCV is not installed" not in record.getMessage()

    logger.addFilter(keep)
    try:
        yield
    finally:
        logger.removeFilter(keep)
