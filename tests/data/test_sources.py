import subprocess
import sys

import numpy as np
import pytest

from ae_jax.data import idx, load, originals


def test_digits():
    from sklearn.datasets import load_digits

    train, test = load("digits", "train"), load("digits", "test")
    assert train["x"].shape == (1437, 8, 8, 1)
    assert test["x"].shape == (360, 8, 8, 1)
    assert train["x"].dtype == np.uint8
    assert train["label"].dtype == np.int32
    digits = load_digits()
    every = np.concatenate([train["x"], test["x"]])[..., 0]
    assert every.max() == 255
    # Rescaling loses nothing: the 17 levels come back, and every digit is there once.
    levels = np.rint(every * (16 / 255)).astype(int)
    labels = np.concatenate([train["label"], test["label"]])
    found = sorted((*level.ravel(), label) for level, label in zip(levels, labels, strict=True))
    expected = zip(digits.images.astype(int), digits.target, strict=True)
    assert found == sorted((*level.ravel(), label) for level, label in expected)


def test_digits_are_the_same_every_time():
    for split in ("train", "test"):
        np.testing.assert_array_equal(load("digits", split)["x"], load("digits", split)["x"])
    with pytest.raises(ValueError, match="digits has no split 'val'"):
        load("digits", "val")


def test_prepared_set_by_name(prepared, rows, monkeypatch):
    root, splits = prepared
    data = load("mnist", "test", root)
    assert rows(data["x"], data["label"]) == rows(*splits["test"])
    monkeypatch.setenv("AE_JAX_DATA", str(root))
    np.testing.assert_array_equal(load("mnist", "test")["x"], data["x"])


def test_idx_folder_by_path(idx_folder, monkeypatch):
    folder, arrays = idx_folder
    monkeypatch.chdir(folder.parent)
    for name in (folder, str(folder), "./tiny"):
        np.testing.assert_array_equal(load(name, "train")["x"][..., 0], arrays["train"][0])
    # One bare word is a name, whatever folders there are.
    with pytest.raises(ValueError, match="no data set is called 'tiny'"):
        load("tiny", "train")


def test_idx_files_beside_arrays_are_still_read(idx_folder):
    folder, arrays = idx_folder
    (folder / "features").mkdir()
    for place in (folder / "embedding.npy", folder / "features" / "0.npy"):
        np.save(place, np.zeros((3, 2)))
        np.testing.assert_array_equal(load(folder, "train")["x"][..., 0], arrays["train"][0])


@pytest.mark.parametrize("place", ["fashion_mnist", "fashion-mnist", "."])
def test_idx_folder_by_name(idx_folder, tmp_path, place):
    folder, arrays = idx_folder
    root = tmp_path / "root"
    (root / place).parent.mkdir(parents=True, exist_ok=True)
    folder.rename(root / place)
    data = load("fashion_mnist", "test", root)
    np.testing.assert_array_equal(data["x"][..., 0], arrays["test"][0])


def test_own_idx_set_by_name_needs_a_folder_of_that_name(idx_folder, tmp_path):
    folder, arrays = idx_folder
    data = load("tiny", "test", tmp_path)
    np.testing.assert_array_equal(data["label"], arrays["test"][1])
    with pytest.raises(FileNotFoundError, match="cifar10 is not in"):
        load("cifar10", "test", folder)


def test_another_published_set_is_not_taken_for_this_one(idx_folder, monkeypatch):
    folder, arrays = idx_folder
    digest = idx.digest(arrays["test"][1])
    monkeypatch.setitem(originals.IDX["fashion_mnist"], "t10k-labels-idx1-ubyte", digest)
    with pytest.raises(ValueError, match="holds fashion_mnist, not mnist"):
        load("mnist", "train", folder)
    assert len(load("fashion_mnist", "train", folder)["x"]) == 7


def test_npz_by_path(tmp_path, monkeypatch):
    np.savez(tmp_path / "a.npz", x=np.ones((10, 3)))
    monkeypatch.chdir(tmp_path)
    for name in (tmp_path / "a.npz", str(tmp_path / "a.npz"), "a.npz"):
        assert load(name, "train")["x"].shape == (8, 3)
        assert load(name, "test")["x"].shape == (2, 3)
    for missing in ("b.npz", "b.CSV", "b.tsv.gz", "./folder"):
        with pytest.raises(FileNotFoundError, match=f"{missing[2:]} does not exist: give its path"):
            load(missing, "train")
    (tmp_path / "a.txt").write_text("1 2")
    with pytest.raises(ValueError, match="a.txt: is not read by its name: use one of .npz, .npy, "):
        load("./a.txt", "train")


def test_truncated_files_are_named(tmp_path, idx_folder):
    folder, _ = idx_folder
    for path, name in (
        (folder / "train-images-idx3-ubyte.gz", folder),
        (tmp_path / "a.npz", tmp_path / "a.npz"),
    ):
        if path.suffix == ".npz":
            np.savez(path, x=np.ones((10, 3)))
        path.write_bytes(path.read_bytes()[:-20])
        with pytest.raises(ValueError, match=path.name):
            load(name, "train")


@pytest.mark.parametrize("name", ["mnist", "cifar10", "svhn_cropped"])
def test_missing_set_says_what_to_run_and_opens_no_connection(name, monkeypatch):
    import socket

    def refuse(*args, **kwargs):
        raise AssertionError("load touched the network")

    for function in ("getaddrinfo", "create_connection", "socket"):
        monkeypatch.setattr(socket, function, refuse)
    with pytest.raises(FileNotFoundError, match=f"run 'python -m ae_jax.data prepare {name}'"):
        load(name, "train")


def test_wrong_kind_of_name():
    with pytest.raises(TypeError):
        load(7, "train")


def test_import_is_light():
    code = (
        "import sys, ae_jax.data; heavy = {'tensorflow', 'tensorflow_datasets', 'sklearn', 'PIL'}"
        "; print(sorted(heavy & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.strip() == "[]", result.stderr
