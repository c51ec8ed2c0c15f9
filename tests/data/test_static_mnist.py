import os
from pathlib import Path

import numpy as np
import pytest

from ae_jax.data import load, static_mnist

SIZES = {"train": 5, "valid": 3, "test": 2}


@pytest.fixture(scope="module")
def pixels():
    rng = np.random.default_rng(0)
    return {split: rng.integers(0, 2, (n, 784), np.uint8) for split, n in SIZES.items()}


def write_packed(folder, pixels):
    folder.mkdir(exist_ok=True)
    packed = {split: np.packbits(each, axis=1) for split, each in pixels.items()}
    np.savez(folder / "static_mnist.npz", **packed)
    return folder / "static_mnist.npz"


def write_text(folder, pixels, end=" \n"):
    folder.mkdir(exist_ok=True)
    for split, each in pixels.items():
        lines = [" ".join(map(str, row)) + end for row in each]
        (folder / f"binarized_mnist_{split}.amat").write_text("".join(lines))
    return folder


@pytest.mark.parametrize("write", [write_packed, write_text])
@pytest.mark.parametrize("split", SIZES)
def test_every_way_to_name_it_gives_the_same_images(tmp_path, pixels, write, split):
    place = write(tmp_path / "static_mnist", pixels)
    want = 255 * pixels[split].reshape(-1, 28, 28, 1)
    folder = tmp_path / "static_mnist"
    for name, root in [("static_mnist", tmp_path), ("static_mnist", place), (place, None)]:
        x = load(name, split, root)["x"]
        assert x.dtype == np.uint8
        np.testing.assert_array_equal(x, want)
    np.testing.assert_array_equal(load(f"{folder}{os.sep}", split)["x"], want)


def test_lines_without_a_last_space_are_read(tmp_path, pixels):
    folder = write_text(tmp_path / "s", pixels, end="\r\n")
    want = 255 * pixels["test"].reshape(-1, 28, 28, 1)
    np.testing.assert_array_equal(load(folder, "test")["x"], want)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        "0 1 0\n",
        "0 " * 783 + "2 \n",
        "0 " * 785 + "\n" + "0 " * 783 + "\n",
        "0 " * 1568 + "\n\n",
    ],
)
def test_damaged_text_is_one_line(tmp_path, text):
    path = tmp_path / "binarized_mnist_train.amat"
    path.write_text(text)
    with pytest.raises(ValueError, match="every line must be 784 digits, each 0 or 1") as caught:
        load(tmp_path, "train")
    assert str(path) in str(caught.value)
    with pytest.raises(FileNotFoundError, match="copy the file there"):
        load(tmp_path, "test")


def test_a_packed_file_of_another_shape_is_one_line(tmp_path, pixels):
    np.savez(tmp_path / "static_mnist.npz", train=pixels["train"])
    with pytest.raises(ValueError, match=r"train must be uint8 \[N, 98\].*is uint8 \[5, 784\]"):
        load(tmp_path / "static_mnist.npz", "train")
    with pytest.raises(ValueError, match="is no such array"):
        load(tmp_path / "static_mnist.npz", "test")
    with pytest.raises(ValueError, match="choose from train, valid, test"):
        load(tmp_path / "static_mnist.npz", "validation")


def test_a_missing_set_says_what_to_copy(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"copy static_mnist.npz, or the three files"):
        load("static_mnist", "train", tmp_path)


SHARED = Path(__file__).parents[3] / "shared" / "data" / "static_mnist"


@pytest.mark.skipif(not SHARED.exists(), reason=f"needs {SHARED}")
def test_the_published_set_has_its_published_numbers():
    for split, count, on in [("train", 50000, 0.1306), ("valid", 10000, 0.1311)]:
        x = load("static_mnist", split, SHARED)["x"]
        assert x.shape == (count, 28, 28, 1)
        assert x.mean() / 255 == pytest.approx(on, abs=5e-5)


def test_the_folder_of_another_set_may_hold_it(tmp_path, pixels, idx_bytes):
    """A path names one set: the idx files in the folder itself."""
    write_packed(tmp_path / "static_mnist", pixels)
    images = np.zeros((2, 4, 4), np.uint8)
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx_bytes(images))
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx_bytes(images[:, 0, 0]))
    assert load(f"{tmp_path}{os.sep}", "train").keys() == {"x", "label"}


def test_its_folder_is_listed(tmp_path, pixels):
    from ae_jax.data.available import available

    place = write_packed(tmp_path / "static_mnist", pixels)
    (one,) = available(tmp_path)
    assert (one.name, one.folder) == (static_mnist.NAME, place)
