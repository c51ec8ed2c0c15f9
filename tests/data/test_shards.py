"""Folders of shards are read as one array of their rows."""

import contextlib
import json
import os
import resource
import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from ae_jax.data import load, scan, validated
from ae_jax.data.fingerprint import fingerprint
from ae_jax.data.scan import check_activations
from ae_jax.data.shards import Shards, columns, load_shards
from ae_jax.data.splits import hold_out

RNG = np.random.default_rng(0)
X = RNG.normal(size=(23, 5)).astype(np.float32)
TARGET = RNG.normal(size=(23, 2, 3)).astype(np.float32)
LABEL = np.arange(23) % 4
CUTS = [(0, 7), (7, 8), (8, 23)]


def write_npy(folder, **arrays):
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in arrays.items():
        for i, (start, stop) in enumerate(CUTS):
            np.save(folder / f"{name}-{i + 8}.npy", array[start:stop])  # 10 comes after 9
    return folder


def write_safetensors(folder, **arrays):
    folder.mkdir(parents=True, exist_ok=True)
    for i, (start, stop) in enumerate(CUTS):
        part = {name: array[start:stop].copy() for name, array in arrays.items()}
        save_file(part, folder / f"shard-{i:05d}.safetensors", metadata={"format": "np"})
    return folder


@pytest.mark.parametrize("write", [write_npy, write_safetensors])
def test_any_index_gives_the_rows_of_the_concatenated_array(tmp_path, write):
    found = columns(write(tmp_path, x=X, target=TARGET, label=LABEL))
    for name, array in {"x": X, "target": TARGET, "label": LABEL}.items():
        column = found[name]
        assert (column.shape, len(column), column.ndim) == (array.shape, 23, array.ndim)
        assert column.size == array.size and column.nbytes == 4 * array.size
        for index in (
            slice(None), slice(5, 9), slice(None, None, -3), slice(9, 5), [], 0, -1, np.int32(8),
            [22, 3, 3, 0, 7, 8, -1], RNG.integers(-23, 23, (4, 6)), np.arange(23) % 3 == 0,
        ):  # fmt: skip
            np.testing.assert_array_equal(column[index], array[index])
        np.testing.assert_array_equal(np.asarray(column), array)
    assert found["x"].dtype == np.float32 and found["label"].dtype == np.int32
    for wrong in ([23], [-24], 0.5, "a", (1, 2), (slice(2), 0), (..., None)):
        with pytest.raises(IndexError) as caught:
            found["x"][wrong]
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("dtype", "read"),
    [
        (np.float16, np.float32), (np.float64, np.float32), (jnp.bfloat16, np.float32),
        (np.uint8, np.uint8), (np.int64, np.int32), (np.bool_, np.float32), (np.int8, np.int32),
    ],
)  # fmt: skip
def test_stored_dtypes_are_converted_when_read(tmp_path, dtype, read):
    stored = (10 * X).astype(np.int8).astype(dtype)
    if np.dtype(dtype).kind == "f" or dtype == jnp.bfloat16:
        stored = X.astype(dtype)
    column = columns(write_safetensors(tmp_path / "s", x=stored))["x"]
    assert column.dtype == read and column[:].dtype == read
    np.testing.assert_array_equal(column[:], stored.astype(read))
    if dtype != jnp.bfloat16:
        column = columns(write_npy(tmp_path / "n", x=stored))["x"]
        np.testing.assert_array_equal(column[::-2], stored.astype(read)[::-2])


def test_fortran_order_and_big_endian_npy(tmp_path):
    write_npy(tmp_path, x=np.asfortranarray(TARGET).astype(">f4"))
    np.save(tmp_path / "x-8.npy", np.asfortranarray(TARGET[:7]).astype(">f4"))
    np.testing.assert_array_equal(columns(tmp_path)["x"][[20, 1, 5]], TARGET[[20, 1, 5]])


def test_values_stay_on_disk(tmp_path):
    """A folder may be larger than the memory: what no row needs is a hole in the file here."""
    rows, width = 3 * 2**20, 2**12  # 48 GiB as float32
    for i in range(2):
        header = {"descr": "<f4", "fortran_order": False, "shape": (rows, width)}
        with open(tmp_path / f"{i}.npy", "wb") as file:
            np.lib.format.write_array_header_1_0(file, header)
            start = file.tell()
            file.truncate(start + 4 * rows * width)
            file.seek(start + 4 * width * (rows - 1))
            file.write(np.full(width, 1 + i, np.float32).tobytes())
    column = columns(tmp_path)["x"]
    assert len(column) == 2 * rows
    np.testing.assert_array_equal(column[[2 * rows - 1, 7, rows - 1]][:, 5], [2, 0, 1])
    with pytest.raises(ValueError, match="rows take 103 GB, more than half of this .*stream them"):
        np.asarray(column)


def test_a_folder_without_splits_is_held_out_by_row(tmp_path, monkeypatch):
    folder = write_npy(tmp_path / "acts", x=X, target=TARGET, label=LABEL)
    monkeypatch.chdir(tmp_path)
    for split in ("train", "test"):
        data, expected = load("./acts", split), hold_out({"x": X, "l": LABEL, "t": TARGET}, split)
        assert isinstance(data["x"], Shards) and isinstance(data["label"], np.ndarray)
        np.testing.assert_array_equal(data["x"][:], expected["x"])
        np.testing.assert_array_equal(data["target"][1:4], expected["t"][1:4])
        np.testing.assert_array_equal(data["label"], expected["l"])
    selected = columns(folder)["x"].select(np.array([9, 1, 20])).select(np.array([2, 0]))
    np.testing.assert_array_equal(selected[:], X[[20, 9]])
    assert selected.place(0) == (folder / "x-10.npy", 12)
    with pytest.raises(ValueError, match="has no split 'valid': choose from train, test"):
        load(folder, "valid")


def test_subfolders_are_splits(tmp_path):
    write_safetensors(tmp_path / "train", x=X)
    write_npy(tmp_path / "valid", x=X[::-1])
    np.testing.assert_array_equal(load(tmp_path, "train")["x"][:], X)
    np.testing.assert_array_equal(load(tmp_path, "valid")["x"][:], X[::-1])
    with pytest.raises(ValueError, match="has no split 'test': choose from train, valid"):
        load(tmp_path, "test")
    write_npy(tmp_path, x=X)
    with pytest.raises(ValueError, match="holds shards, and so does its subfolder train"):
        load(tmp_path, "train")


def test_validated_keeps_shards_where_they_can_be_streamed(tmp_path):
    data = load_shards(write_npy(tmp_path, x=X, target=TARGET, part=LABEL, label=LABEL), "train")
    kept, read = validated(data, records=True), validated(data)
    assert {name for name, c in kept.items() if isinstance(c, Shards)} == {"x", "target", "part"}
    assert all(type(column) is np.ndarray for column in read.values())
    for name, column in kept.items():
        assert column.dtype == read[name].dtype
        np.testing.assert_array_equal(column[:], read[name])
    assert fingerprint(kept) == fingerprint(read)
    with pytest.raises(ValueError, match=r"x has values in .*needs \[0, 1\]"):
        validated(data, records=True, support="unit_interval")
    with pytest.raises(ValueError, match="target has shape .* but x has 23 rows"):
        validated({"x": columns(tmp_path)["x"], "target": data["target"]}, records=True)


def test_fingerprints_and_scans_do_not_depend_on_the_blocks(tmp_path, monkeypatch):
    write_npy(tmp_path, x=X)
    whole = scan.scan(X)
    for block in (7, 60, 2**20):
        monkeypatch.setattr(scan, "BLOCK", block)
        found = columns(tmp_path)["x"].scan
        assert found.checksum == whole.checksum and (found.low, found.high) == (X.min(), X.max())
    assert (columns(tmp_path)["x"].min(), columns(tmp_path)["x"].max()) == (X.min(), X.max())


def refused(tmp_path, message, error=ValueError):
    with pytest.raises(error, match=message) as caught:
        load(tmp_path, "train")
    assert "\n" not in str(caught.value) and str(tmp_path) in str(caught.value)


def test_an_empty_folder(tmp_path):
    refused(tmp_path, "holds neither shards, such as x-00000.npy .* nor idx", FileNotFoundError)
    with pytest.raises(FileNotFoundError, match="holds no shards: needs files such as x-00000"):
        columns(tmp_path)


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("x-11.npy", X[:, :4], r"x is float32\[N, 5\] in x-8.npy and float32\[N, 4\] in x-11.npy"),
        ("x-11.npy", X.astype(np.float16), r"float32\[N, 5\] in x-8.npy and float16\[N, 5\] in x-"),
        ("target-8.npy", X[:7], "x-9.npy has no file of target with its number: every row needs"),
        ("10.npy", X, "10.npy and x-10.npy are of one column and have the same number: remove or"),
        ("x-010.npy", X, "x-010.npy and x-10.npy are of one column and have the same number"),
        ("x.npy", X, "x.npy: its name is not that of a shard: use COLUMN-NUMBER.npy"),
        ("x-11.npy", np.float32(1), r"x-11.npy is not a complete .npy file: it has shape \[\]"),
        ("x-11.npy", X[:, :0], r"it has shape \[23, 0\]: needs rows"),
        ("x-11.npy", np.array([[{}]]), "it contains pickled objects, which are never read"),
        ("x-11.npy", X.astype(jnp.bfloat16), r"dtype \|V2, which is no number: save bfloat16 as "),
        ("x-11.npy", X.astype(complex), "dtype complex128, which is no number"),
    ],
)  # fmt: skip
def test_npy_files_that_do_not_fit_are_named(tmp_path, name, array, message):
    write_npy(tmp_path, x=X)
    np.save(tmp_path / name, array)
    refused(tmp_path, message)


def test_npy_files_of_columns_are_paired_by_their_numbers(tmp_path):
    write_npy(tmp_path, x=X, target=TARGET)
    (tmp_path / "x-8.npy").rename(tmp_path / "8.npy")  # the order is that of the numbers
    (tmp_path / "x-10.npy").rename(tmp_path / "010.npy")
    np.testing.assert_array_equal(columns(tmp_path)["x"][:], X)
    np.save(tmp_path / "target-9.npy", TARGET[:2])
    refused(tmp_path, "x-9.npy and target-9.npy have 1 and 2 rows: every row needs all")
    (tmp_path / "target-9.npy").rename(tmp_path / "target-11.npy")
    refused(tmp_path, "x-9.npy has no file of target with its number: every row needs all columns")
    (tmp_path / "x-9.npy").unlink()
    refused(tmp_path, "target-11.npy has no file of x with its number: every row needs all columns")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (
            {"x": X[:, :4]},
            r"x is float32\[N, 5\] in shard-00000.safetensors and float32\[N, 4\] in",
        ),
        ({"y": X}, "shard-00002.safetensors has the columns x and shard-9.safetensors has y: give"),
        ({}, "shard-9.safetensors has none: give all shards the same"),
        ({"x": X, "y": X[:4]}, r"its columns have different lengths, {'x': 23, 'y': 4}: cut them"),
        ({"x": X.astype(np.complex64)}, "x has the type C64, which is not read"),
    ],
)
def test_safetensors_files_that_do_not_fit_are_named(tmp_path, arrays, message):
    write_safetensors(tmp_path, x=X)
    save_file(arrays, tmp_path / "shard-9.safetensors")
    refused(tmp_path, message)


def test_kinds_of_files_are_not_mixed_and_x_is_needed(tmp_path):
    write_npy(tmp_path / "a", act=X)
    refused(tmp_path / "a", "has no column 'x', only act: name the examples x")
    write_safetensors(tmp_path / "a", x=X)
    refused(tmp_path / "a", "holds act-8.npy and shard-00000.safetensors: use one kind of file")
    save_file({"x": X[:1]}, write_safetensors(tmp_path / "b", x=X) / "s.safetensors")
    for path in sorted((tmp_path / "b").glob("shard*")):
        path.unlink()
    refused(tmp_path / "b", "has 1 row: needs two, for train and test")
    save_file({"x": X[:0]}, tmp_path / "b" / "s.safetensors")
    refused(tmp_path / "b", "has 0 rows: needs 1 to 2147483647 of them")


@pytest.mark.parametrize("write", [write_npy, write_safetensors])
def test_every_truncation_is_noticed(tmp_path, write):
    write(tmp_path, x=X)
    path = max(tmp_path.iterdir())
    whole = path.read_bytes()
    for size in [*range(0, len(whole), 13), len(whole) - 1]:
        path.write_bytes(whole[:size])
        refused(tmp_path, f"{path.name} is not a complete {path.suffix} file")
    path.write_bytes(whole + b"\0")
    refused(tmp_path, f"{path.name} is not a complete {path.suffix} file")
    path.unlink()
    os.mkfifo(path)
    refused(tmp_path, f"{path.name} is not a regular file")


def test_headers_are_not_believed(tmp_path):
    write_safetensors(tmp_path, x=X)
    path = tmp_path / "shard-00002.safetensors"
    for entry in (
        {"dtype": "F32", "shape": [2**40, 2**20], "data_offsets": [0, 40]},
        {"dtype": "F32", "shape": [2, 5], "data_offsets": [8, 48]},
        {"dtype": "F32", "shape": [2, 5]},
        "F32",
    ):
        header = json.dumps({"x": entry}).encode()
        path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(40))
        refused(tmp_path, "shard-00002.safetensors is not a complete .safetensors file")


def test_large_integers_are_no_labels(tmp_path):
    column = columns(write_npy(tmp_path, x=X, label=LABEL + 2**40))["label"]
    with pytest.raises(ValueError, match="label-8.npy has the value 1099511627779, .* no int32"):
        column[:]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_rows_that_are_not_finite_are_counted_and_named(tmp_path, value, monkeypatch):
    x = X.copy()
    x[[9, 13, 22], [0, 4, 2]] = value
    data = load(write_npy(tmp_path / "a" / "train", x=x).parent, "train")
    monkeypatch.setattr(scan, "BLOCK", 60)
    for check in (check_activations, validated, lambda d: validated(d, records=True)):
        with pytest.raises(
            ValueError,
            match=r"^3 of the 23 rows of x have values that are NaN, .*"
            r"the first is row 1 of .*x-10.npy: drop or replace them$",
        ):
            check(data)  # fmt: skip
    with pytest.raises(ValueError, match=r"^3 of the 23 rows of x .* the first is row 9: drop"):
        check_activations({"x": x})


def test_what_is_too_large_for_float32_is_not_finite(tmp_path):
    x = X.astype(np.float64)
    x[21, 3] = 1e300
    with pytest.raises(
        ValueError,
        match=r"^1 of the 23 rows of x .* too large for float32, the fir"
        r"st is row 13 of .*x-10.npy",
    ):
        validated(columns(write_npy(tmp_path, x=x)), records=True)  # fmt: skip


def test_columns_without_variance_are_counted_and_named(tmp_path, monkeypatch):
    monkeypatch.setattr(scan, "BLOCK", 60)
    x, same = X.copy(), np.tile(X[:1], (23, 1))
    x[:, 1], x[:, 4], x[:22, 0] = 0.5, -2, 3  # the last is constant until the last row
    folder = write_npy(tmp_path, x=x)
    for data in ({"x": x}, columns(folder)):
        with pytest.raises(
            ValueError,
            match=r"^2 of the 5 elements of x have zero variance, the "
            r"first is 1, always 0.5: drop them",
        ):
            check_activations(data)  # fmt: skip
    with pytest.raises(ValueError, match="x has zero variance: its 23 rows are all equal to row 0"):
        check_activations({"x": same})
    check_activations({"x": X, "label": LABEL, "target": TARGET[:1], "mask": np.ones(23)})


def test_scattered_rows_of_a_large_file(tmp_path):
    x = np.arange(30_000, dtype=np.float64).reshape(3000, 10)
    np.save(tmp_path / "0.npy", x[:1000])
    np.save(tmp_path / "1.npy", x[1000:])
    column, rows = columns(tmp_path)["x"], RNG.permutation(3000)
    for start in range(0, 3000, 37):
        np.testing.assert_array_equal(column[rows[start : start + 37]], x[rows[start : start + 37]])
    every = column.select(np.arange(0, 3000, 7))
    np.testing.assert_array_equal(every[rows[:60] % 400], x[::7][rows[:60] % 400])


DESCRIPTORS = Path("/proc/self/fd")


@pytest.mark.skipif(not DESCRIPTORS.exists(), reason="counts descriptors in /proc")
def test_columns_of_a_file_share_its_descriptor(tmp_path):
    write_safetensors(tmp_path, x=X, target=TARGET, label=LABEL)
    before = len([*DESCRIPTORS.iterdir()])
    found = columns(tmp_path)
    assert len([*DESCRIPTORS.iterdir()]) - before <= len(CUTS)
    np.testing.assert_array_equal(found["label"][:], LABEL)


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="a mapped file keeps no descriptor")
@pytest.mark.parametrize("write", [write_npy, write_safetensors])
def test_too_many_open_files(tmp_path, write):
    write(tmp_path, x=X)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.open(tmp_path, os.O_RDONLY)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free + 3, hard))
    try:
        with pytest.raises(OSError, match="has 3 shards, more .*: raise .* 'ulimit -n', or use"):
            columns(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@contextlib.contextmanager
def another_user():
    """Root may read everything, and nobody may not."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)


def test_a_subfolder_that_cannot_be_read_is_no_split(tmp_path, monkeypatch):
    write_npy(tmp_path / "acts" / "train", x=X)
    (tmp_path / "acts" / "lost+found").mkdir(mode=0)
    monkeypatch.chdir(tmp_path / "acts")
    with another_user():
        with pytest.raises(PermissionError):
            os.listdir("lost+found")
        np.testing.assert_array_equal(load("./", "train")["x"][:], X)
