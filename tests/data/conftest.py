"""Tiny files and sets, made on the spot."""

import gzip
import struct

import numpy as np
import pytest

from ae_jax.data import prepare


@pytest.fixture(autouse=True)
def private_folders(tmp_path, monkeypatch):
    """Keeps the tests off this machine's cache and data sets."""
    monkeypatch.setenv("AE_JAX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("AE_JAX_DATA", str(tmp_path / "no-data"))


@pytest.fixture(scope="session")
def idx_bytes():
    """The idx file of a uint8 array, by the definition of the format."""

    def encode(array):
        sizes = b"".join(struct.pack(">I", size) for size in array.shape)
        return bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes()

    return encode


@pytest.fixture(scope="session")
def rows():
    """The examples of a split in an order that does not depend on how they are stored."""

    def ordered(x, label):
        return sorted((image.tobytes(), int(value)) for image, value in zip(x, label, strict=True))

    return ordered


def random_split(n, shape=(5, 4), seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (n, *shape), np.uint8), rng.integers(0, 10, n, np.uint8)


@pytest.fixture
def idx_folder(tmp_path, idx_bytes):
    """A folder of idx files, the train ones gzipped: 7 and 3 images of 5x4, and their arrays."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    arrays = {"train": random_split(7), "test": random_split(3, seed=1)}
    for (images, labels), prefix, opener, suffix in (
        (arrays["train"], "train", gzip.open, ".gz"),
        (arrays["test"], "t10k", open, ""),
    ):
        for part, array in (("images-idx3", images), ("labels-idx1", labels)):
            with opener(folder / f"{prefix}-{part}-ubyte{suffix}", "wb") as file:
                file.write(idx_bytes(array))
    return folder, arrays


@pytest.fixture(scope="session")
def prepared(tmp_path_factory):
    """A folder with a tiny set under the name "mnist", written by TFDS, and its arrays."""
    root = tmp_path_factory.mktemp("tfds")
    splits = {"train": random_split(30, (28, 28, 1)), "test": random_split(11, (28, 28, 1), 1)}
    prepare.write("mnist", splits, root)
    return root, splits
