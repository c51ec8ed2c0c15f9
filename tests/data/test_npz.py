import io
import zipfile

import numpy as np
import pytest

from ae_jax.data.npz import load_npy, load_npz, read_npz
from ae_jax.data.splits import hold_out

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_reads_what_numpy_wrote(tmp_path, save):
    arrays = {
        "a": RNG.integers(0, 256, (7, 3, 2), np.uint8),
        "b": np.asfortranarray(RNG.normal(size=(4, 5))),
        "c": np.zeros((0, 3), np.float32),
        "d": np.float64(3.0),
        "e": np.arange(5, dtype=">i8"),
    }
    path = tmp_path / "arrays.npz"
    save(path, **arrays)
    read = read_npz(path)
    assert sorted(read) == sorted(arrays)
    for key, array in arrays.items():
        np.testing.assert_array_equal(read[key], array)
        assert read[key].dtype == np.asarray(array).dtype


def test_keras_layout(tmp_path):
    x, y = RNG.integers(0, 256, (9, 6, 5), np.uint8), RNG.integers(0, 10, (9, 1))
    path = tmp_path / "keras.npz"
    np.savez(path, x_train=x[:6], y_train=y[:6], x_test=x[6:], y_test=y[6:])
    train, test = load_npz(path, "train"), load_npz(path, "test")
    np.testing.assert_array_equal(train["x"], x[:6, :, :, None])  # images get a channel axis
    np.testing.assert_array_equal(test["x"], x[6:, :, :, None])
    np.testing.assert_array_equal(train["label"], y[:6, 0])
    assert test["label"].dtype == np.int32


def test_one_set_is_cut_in_two(tmp_path):
    x = RNG.normal(size=(50, 7, 2))
    data = {"x": x, "label": np.arange(50), "length": 1 + np.arange(50) % 7}
    path = tmp_path / "one.npz"
    np.savez(path, **data)
    for split, n in (("train", 40), ("test", 10)):
        loaded = load_npz(path, split)
        expected = hold_out(data, split)
        assert loaded["x"].dtype == np.float32
        assert loaded["x"].shape == (n, 7, 2)  # floats of rank 3 are sequences, not images
        np.testing.assert_array_equal(loaded["x"], expected["x"].astype(np.float32))
        np.testing.assert_array_equal(loaded["label"], expected["label"])
        np.testing.assert_array_equal(loaded["length"], expected["length"])


def test_float_images_and_vectors_are_kept_as_they_are(tmp_path):
    path = tmp_path / "v.npz"
    x = RNG.normal(size=(5, 3)).astype(np.float32)
    np.savez(path, x_train=x, x_test=x)
    assert list(load_npz(path, "train")) == ["x"]
    np.testing.assert_array_equal(load_npz(path, "train")["x"], x)


@pytest.mark.parametrize(
    ("arrays", "split", "error", "message"),
    [
        ({"a": np.ones(3)}, "train", ValueError, "contains a: needs x_train"),
        ({}, "train", ValueError, "contains no array: needs x_train"),
        ({"x_train": np.ones((3, 2))}, "test", ValueError, "contains x_train: needs x_test"),
        ({"x": np.ones((3, 2))}, "val", ValueError, "no split 'val'"),
        ({"x": np.ones((3, 2), np.int64)}, "train", TypeError, "x has dtype int64"),
        ({"x": np.ones((3, 2)), "label": [1]}, "train", ValueError, "label has 1 entries"),
        ({"x": np.full((3, 2), np.nan)}, "train", ValueError, "6 of the 6 values of x are NaN"),
        ({"x": np.ones((0, 2))}, "train", ValueError, "an empty data set"),
        ({"x": np.ones((1, 2))}, "train", ValueError, "an empty data set"),
        ({"x": np.array([[{}]])}, "train", ValueError, "contains pickled objects"),
    ],
)
def test_bad_contents_are_named_in_one_line(tmp_path, arrays, split, error, message):
    path = tmp_path / "bad.npz"
    np.savez(path, **arrays)
    with pytest.raises(error, match=message) as caught:
        load_npz(path, split)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_every_truncation_is_noticed(tmp_path, save):
    path = tmp_path / "t.npz"
    save(path, x=RNG.integers(0, 256, (5, 4), np.uint8))
    whole = path.read_bytes()
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        with pytest.raises(ValueError, match=r"is not a complete \.npz file"):
            read_npz(path)


def test_flipped_data_is_noticed(tmp_path):
    path = tmp_path / "t.npz"
    x = RNG.integers(0, 256, (50, 20), np.uint8)
    np.savez(path, x=x)
    whole = bytearray(path.read_bytes())
    start = whole.index(x.tobytes())
    for i in range(start, start + x.size, 97):
        whole[i] ^= 1
        path.write_bytes(whole)
        with pytest.raises(ValueError, match="Bad CRC-32"):
            read_npz(path)
        whole[i] ^= 1


def zip_member(path, content):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", content)


def npy_header(shape, descr="|u1"):
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        stream, {"descr": descr, "fortran_order": False, "shape": shape}
    )
    return stream.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (npy_header((2**40, 2**20)) + bytes(8), "declares 1152921504606846976 bytes"),
        (npy_header((2, 2)) + bytes(3), "declares 4 bytes of data, it holds only 3"),
        (npy_header((2, 2)) + bytes(10**6), "declares 4 bytes of data, it holds more"),
        (npy_header((-4, 1)) + bytes(9), "declares -4 bytes of data"),
        (npy_header((2, 2))[:-40], "is not a complete .npz file"),
        (npy_header((1,), "|O") + b"cos\nsystem\n(S'false'\ntR.", "pickled objects"),
        (b"hello", "magic string"),
        (b"", "is not a complete .npz file"),
        (b"\x93NUMPY\x02\x00" + bytes(60), "version"),
    ],
)
def test_headers_are_not_believed(tmp_path, content, message):
    path = tmp_path / "t.npz"
    zip_member(path, content)
    with pytest.raises(ValueError, match=message) as caught:
        read_npz(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_not_an_archive(tmp_path):
    path = tmp_path / "t.npz"
    path.write_bytes(npy_header((2,)) + bytes(2))
    with pytest.raises(ValueError, match=r"is not a complete \.npz file: File is not a zip file"):
        read_npz(path)
    with pytest.raises(FileNotFoundError):
        read_npz(tmp_path / "none.npz")


def test_further_columns_are_kept(tmp_path):
    """Of one set and of two: none is dropped."""
    x, angle = np.ones((20, 3), np.float32), np.arange(20, dtype=np.float64)[:, None]
    np.savez(tmp_path / "one.npz", x=x, angle=angle)
    both = [load_npz(tmp_path / "one.npz", split)["angle"] for split in ("train", "test")]
    assert sorted(np.concatenate(both).ravel()) == list(range(20)) and both[0].dtype == np.float32
    np.savez(
        tmp_path / "two.npz", x_train=x, x_test=x[:5], length_train=np.full(20, 2),
        length_test=np.full(5, 3), y_train=np.zeros(20, int), y_test=np.zeros(5, int),
    )  # fmt: skip
    train, test = (load_npz(tmp_path / "two.npz", split) for split in ("train", "test"))
    assert train.keys() == {"x", "length", "label"} and train["length"].tolist() == [2] * 20
    assert test["length"].tolist() == [3] * 5


def test_an_array_of_no_split_is_refused(tmp_path):
    np.savez(tmp_path / "a.npz", x_train=np.ones((3, 2)), x_test=np.ones((3, 2)), y=np.ones(3, int))
    with pytest.raises(ValueError, match="contains 'y' beside x_train: end its name in _train"):
        load_npz(tmp_path / "a.npz", "train")


def test_y_is_the_label_where_it_is_one_integer_an_example(tmp_path):
    x, classes, targets = np.ones((20, 3)), np.arange(20), np.ones((20, 4), np.float32)
    np.savez(tmp_path / "label.npz", x=x, y=classes)
    data = load_npz(tmp_path / "label.npz", "test")
    assert data.keys() == {"x", "label"} and len(data["label"]) == 4
    np.savez(tmp_path / "both.npz", x=x, y=classes, label=classes + 1)
    data = load_npz(tmp_path / "both.npz", "test")
    np.testing.assert_array_equal(data["label"], data["y"] + 1)
    np.savez(tmp_path / "target.npz", x_train=x, y_train=targets)
    assert load_npz(tmp_path / "target.npz", "train")["y"].shape == (20, 4)


def test_an_array_of_a_split_beside_one_set_is_refused(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.ones((10, 2)), x_train=np.ones((10, 2)))
    with pytest.raises(ValueError, match="contains 'x_train' beside 'x': end the name of every"):
        load_npz(tmp_path / "a.npz", "train")


def test_one_array_of_examples(tmp_path):
    for x in (RNG.normal(size=(50, 7, 2)), RNG.integers(0, 256, (50, 6, 5), np.uint8)):
        np.save(tmp_path / "x.npy", x)
        expected = hold_out({"x": x}, "train")["x"]
        loaded = load_npy(tmp_path / "x.npy", "train")["x"]
        np.testing.assert_array_equal(loaded.reshape(expected.shape), expected.astype(loaded.dtype))
    assert loaded.shape[1:] == (6, 5, 1)
    whole = (tmp_path / "x.npy").read_bytes()
    for damaged in (b"", whole[:100], whole[:-1], whole + b"?"):
        (tmp_path / "x.npy").write_bytes(damaged)
        with pytest.raises(ValueError, match=r"x\.npy is not a complete \.npy file"):
            load_npy(tmp_path / "x.npy", "train")
