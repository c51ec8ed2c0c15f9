"""The binary version of CIFAR-10, read from its archive in memory.

A record is one byte for the label, then 32x32 bytes each for red, green and blue, row by row
(Krizhevsky, "Learning multiple layers of features from tiny images", 2009). The Python version of
the archive contains pickles and is never read.
"""

from __future__ import annotations

import hashlib
import tarfile
import zlib
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from ae_jax.data import originals
from ae_jax.files import read_exactly

ARCHIVE = "cifar-10-binary.tar.gz"
CLASSES = (
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
)
RECORD = 1 + 32 * 32 * 3
BATCH = 10_000 * RECORD  # bytes in one file


def read_archive(path: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Read the published archive.

    Returns:
      {"train": (images, labels), "test": ...}: uint8 `[N, 32, 32, 3]`, int32 `[N]`, N 50000 and
      10000, in the published order.

    Raises:
      ValueError: the archive is damaged, or its contents are not the published ones.
      OSError: the file cannot be opened.
    """
    batches: dict[str, bytearray] = {}
    with path.open("rb") as raw:
        try:
            with tarfile.open(fileobj=raw, mode="r:gz") as archive:
                for member in archive:
                    name = Path(member.name).name
                    if member.isreg() and name in originals.CIFAR10:
                        stream = cast(BinaryIO, archive.extractfile(member))
                        batches[name] = read_exactly(stream, BATCH)
        except (tarfile.TarError, ValueError, EOFError, OSError, zlib.error) as error:
            raise ValueError(f"{path} is not a complete archive: {error}") from error
    for name, expected in originals.CIFAR10.items():
        if name not in batches or hashlib.sha256(batches[name]).hexdigest() != expected:
            raise ValueError(f"{path} does not contain the published {name}: download it again")
    train = b"".join(batches[name] for name in originals.CIFAR10 if name != "test_batch.bin")
    return {"train": decode(train), "test": decode(batches["test_batch.bin"])}


def decode(records: bytes | bytearray) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 `[N, 32, 32, 3]` and labels int32 `[N]` of N records."""
    rows = np.frombuffer(records, np.uint8).reshape(-1, RECORD)
    images = rows[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(images), rows[:, 0].astype(np.int32)
