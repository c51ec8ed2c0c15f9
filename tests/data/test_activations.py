"""Activations are written completely, in the order of the examples, or not at all."""

import hashlib
import json
import os
import signal
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ae_jax.data import load, write_activations
from ae_jax.data.shard_files import verify_shards
from ae_jax.data.shards import columns

RNG = np.random.default_rng(0)
X = RNG.normal(size=(29, 3, 2)).astype(np.float32)
LABEL = np.arange(29) % 5
W = RNG.normal(size=(2, 4)).astype(np.float32)
EXPECTED = np.tanh(X.astype(np.float64) @ W)  # [29, 3, 4]


def positions(batch):
    return jnp.tanh(batch["x"] @ W)


def one_row(batch):
    return positions(batch).mean(axis=1)


def test_one_row_of_each_example(tmp_path):
    traced = []

    def fn(batch):
        traced.append(batch["x"].shape)
        return one_row(batch)

    folder = write_activations(fn, X, tmp_path / "a", batch_size=4, rows_per_shard=10)
    assert set(traced) == {(4, 3, 2)}  # also of the last batch
    names = sorted(path.name for path in folder.iterdir())
    assert names == [*(f"shard-{i:05d}.safetensors" for i in range(4)), "shards.json"]
    found = columns(folder)
    assert list(found) == ["x"]
    np.testing.assert_allclose(found["x"][:], EXPECTED.mean(axis=1), rtol=1e-5, atol=1e-6)
    verify_shards(folder)


@pytest.mark.parametrize(("batch_size", "rows_per_shard"), [(4, 31), (29, 1000), (7, 3), (1000, 6)])
def test_positions_become_rows_that_can_be_traced_back(tmp_path, batch_size, rows_per_shard):
    def fn(batch):
        h = positions(batch)
        return {"x": h, "target": -h[..., :1], "label": batch["label"], "token": h[..., 0] > 0}

    folder = write_activations(
        fn,
        {"x": X, "label": LABEL},
        tmp_path / "a",
        batch_size=batch_size,
        rows_per_shard=rows_per_shard,
    )
    data = columns(folder)
    assert {name: (c.shape, str(c.dtype)) for name, c in data.items()} == {
        "x": ((87, 4), "float32"),
        "target": ((87, 1), "float32"),
        "label": ((87,), "int32"),
        "token": ((87,), "float32"),
        "row": ((87,), "int32"),
        "position": ((87,), "int32"),
    }
    row, position = data["row"][:], data["position"][:]
    np.testing.assert_array_equal(row, np.repeat(np.arange(29), 3))
    np.testing.assert_array_equal(position, np.tile(np.arange(3), 29))
    np.testing.assert_allclose(data["x"][:], EXPECTED[row, position], rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(data["target"][:], -data["x"][:][:, :1])
    np.testing.assert_array_equal(data["label"][:], LABEL[row])
    np.testing.assert_array_equal(data["token"][:], data["x"][:][:, 0] > 0)
    sizes = [entry["rows"] for entry in manifest(folder)["shards"].values()]
    assert sum(sizes) == 87 and max(sizes) <= rows_per_shard


def manifest(folder):
    return json.loads((folder / "shards.json").read_text())


def test_rows_of_a_mask_are_not_written(tmp_path):
    keep, own = np.arange(29) % 4 > 0, RNG.random((29, 3)) < 0.3
    own[8:16] = False  # a shard without a row

    def fn(batch):
        return {"x": positions(batch), "mask": jnp.asarray(own)[batch["number"]]}

    data = {"x": X, "mask": keep, "number": np.arange(29)}
    folder = write_activations(fn, data, tmp_path / "a", batch_size=4, rows_per_shard=24)
    written = columns(folder)
    row, position = np.nonzero(own & keep[:, None])
    np.testing.assert_array_equal(written["row"][:], row)
    np.testing.assert_array_equal(written["position"][:], position)
    expected = EXPECTED[row, position]
    np.testing.assert_allclose(written["x"][:], expected, rtol=1e-5, atol=1e-6)
    assert manifest(folder)["shards"]["shard-00001.safetensors"]["rows"] == 0


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_floats_are_rounded_to_the_dtype_of_the_file(tmp_path, dtype):
    whole = write_activations(one_row, X, tmp_path / "whole")
    half = write_activations(one_row, X, tmp_path / "half", dtype=dtype)
    exact = columns(whole)["x"][:]
    np.testing.assert_array_equal(columns(half)["x"][:], exact.astype(jnp.dtype(dtype)))
    sizes = [(f / "shard-00000.safetensors").stat().st_size for f in (whole, half)]
    assert sizes[0] - sizes[1] == pytest.approx(exact.nbytes / 2, abs=8)


def test_maps_uint8_and_partials(tmp_path):
    """Pixels are floats in [0, 1] for the function. Arrays of a partial function are arguments."""
    pixels = RNG.integers(0, 256, (11, 4, 4, 2), np.uint8)
    seen = []

    def scaled(scale, batch):
        seen.append(scale)
        return scale * batch["x"]

    fn = jax.tree_util.Partial(scaled, jnp.float32(2))
    data = columns(write_activations(fn, pixels, tmp_path / "a", batch_size=4))
    assert data["x"].shape == (11, 4, 4, 2)
    np.testing.assert_allclose(data["x"][:], pixels / 127.5, rtol=1e-6)
    assert all(isinstance(scale, jax.core.Tracer) for scale in seen)


def test_activations_of_activations_and_of_splits(tmp_path):
    for split, part in (("train", slice(0, 20)), ("test", slice(20, 29))):
        write_activations(positions, X[part], tmp_path / "acts" / split)
    data = load(tmp_path / "acts", "test")
    twice = write_activations(lambda b: 2 * b["x"], data, tmp_path / "twice", batch_size=5)
    np.testing.assert_array_equal(columns(twice)["x"][:], 2 * data["x"][:])


KILLED = """
import os, signal, sys
from tests.data.test_activations import X, one_row, write_activations
from ae_jax.data import activations
whole, written = activations.write_whole, []
def write(path, content):
    if len(written) == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)
    whole(path, content)
    written.append(path)
activations.write_whole = write
write_activations(one_row, X, sys.argv[1], batch_size=4, rows_per_shard=8)
"""


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("at", [1, 4])
def test_a_killed_writer_continues(tmp_path, at):
    """At 1 it has written no shard, at 4 its second one and not yet its entry."""
    folder = tmp_path / "a"
    command = [sys.executable, "-c", KILLED, folder, str(at)]
    killed = subprocess.run(command, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
    assert killed.returncode == -signal.SIGKILL
    before = content(folder)
    assert len(before) == {1: 1, 4: 3}[at]
    with pytest.raises(ValueError, match=f"is incomplete, with {at // 4} of 4 shards: write it to"):
        load(folder, "train")
    write_activations(one_row, X, folder, batch_size=4, rows_per_shard=8)
    whole = write_activations(one_row, X, tmp_path / "b", batch_size=4, rows_per_shard=8)
    assert content(folder) == content(whole)
    times = {path: path.stat().st_mtime_ns for path in folder.glob("*.safetensors")}
    (folder / "shard-00002.safetensors").unlink()
    write_activations(one_row, X, folder, batch_size=4, rows_per_shard=8)  # only that one
    assert content(folder) == content(whole)
    kept = {p: t for p, t in times.items() if p.stat().st_mtime_ns == t}
    assert len(kept) == 3


def test_a_folder_that_holds_something_else_is_refused(tmp_path):
    folder = write_activations(one_row, X, tmp_path / "a", batch_size=4, rows_per_shard=8)
    before = content(folder)
    settings = {"batch_size": 4, "rows_per_shard": 8}
    for change, data, fn, message in (
        ({"batch_size": 5}, X, one_row, "was written with batch_size=4, which now is 5: choose"),
        ({"rows_per_shard": 9}, X, one_row, "was written with rows_per_shard=8, which now is 9"),
        ({"dtype": "float16"}, X, one_row, "was written with dtype='float32', which now is 'flo"),
        ({}, X[:28], one_row, "was written with examples=29, which now is 28"),
        ({}, X + 1, one_row, r"was written with data={'x': 'float32\[29, 3, 2\] .*which now is"),
        ({}, X, positions, r"was written with columns={'x': 'float32\[N, 4\]'}, which now is"),
        ({}, X, lambda b: one_row(b) * 1.001, "holds other values of x than this function gives"),
    ):
        with pytest.raises(ValueError, match=message) as caught:
            write_activations(fn, data, folder, **{**settings, **change})
        assert "\n" not in str(caught.value) and str(folder) in str(caught.value)
    assert content(folder) == before
    (folder / "shards.json").unlink()
    with pytest.raises(ValueError, match="holds shard-00000.safetensors and no shards.json: "):
        write_activations(one_row, X, folder, **settings)


def test_a_damaged_shard_is_written_again(tmp_path):
    folder = write_activations(one_row, X, tmp_path / "a", batch_size=4, rows_per_shard=8)
    before, shard = content(folder), folder / "shard-00001.safetensors"
    flipped = bytearray(before[shard.name])
    flipped[-3] ^= 1
    shard.write_bytes(flipped)
    write_activations(one_row, X, folder, batch_size=4, rows_per_shard=8)
    assert content(folder) == before


@pytest.mark.parametrize("name", ["shard-00004.safetensors", "x-00000.npy"])
def test_a_shard_that_is_not_expected_is_refused(tmp_path, name):
    folder = write_activations(one_row, X, tmp_path / "a", batch_size=4, rows_per_shard=8)
    (folder / name).write_bytes(b"")
    with pytest.raises(ValueError, match=f"holds {name}, which this call does not write: choose"):
        write_activations(one_row, X, folder, batch_size=4, rows_per_shard=8)


@pytest.mark.parametrize(
    ("fn", "options", "message"),
    [
        (one_row, {"batch_size": 0}, "batch_size=0: must be an integer >= 1"),
        (one_row, {"rows_per_shard": 2.0}, "rows_per_shard=2.0: must be an integer >= 1"),
        (positions, {"rows_per_shard": 2}, "rows_per_shard=2: must be >= 3, the positions of an"),
        (one_row, {"dtype": "int8"}, "dtype='int8': choose from float32, float16, bfloat16"),
        (lambda b: {"y": b["x"]}, {}, r"the function gives no 'x', only \['y'\]: put the rows"),
        (lambda b: b["x"].mean(), {}, r"gives x of shape \[\] for a batch of 29 examples: needs"),
        (lambda b: b["x"].mean((1, 2)), {}, r"gives x of shape \[29\] for a batch of 29"),
        (lambda b: b["x"][:5], {}, r"gives x of shape \[5, 3, 2\] for a batch of 29 examples"),
        (lambda b: {"x": b["x"], "target": b["x"][:, 0]}, {}, r"gives target of shape \[29, 2\], a"
         r"nd x has 3 positions: needs \[29, 3, ...\] or \[29\]"),
        (lambda b: {"x": b["x"], "row": b["x"]}, {}, "gives 'row', which has a meaning here: ren"),
        (lambda b: {"x": one_row(b), "mask": one_row(b)}, {}, r"a mask of shape \[29, 4\]: needs"),
        (lambda b: b["x"] / (b["x"] - X[7, 1, 0]) * (b["x"] == X[7, 1, 0]), {"batch_size": 5},
         "x of example 7 has the value (inf|nan|-inf), repair the function or the data"),
        (lambda b: 1e5 * jnp.ones_like(b["x"]), {"dtype": "float16"},
         "x of example 0 has the value 100000, which float16 cannot hold: use dtype='bfloat16' or"),
    ],
)  # fmt: skip
def test_bad_settings_and_functions_are_refused(tmp_path, fn, options, message):
    with pytest.raises(ValueError, match=message) as caught:
        write_activations(fn, X, tmp_path / "a", **options)
    assert "\n" not in str(caught.value)
    assert not [*tmp_path.rglob("*.safetensors")]


def test_a_full_disk_leaves_whole_shards(tmp_path, largest_file):
    folder = tmp_path / "a"
    with largest_file(500), pytest.raises(OSError, match="cannot write .*shard-00000.*it needs"):
        write_activations(one_row, X, folder, batch_size=4)
    assert [path.name for path in folder.iterdir()] == ["shards.json"]
    write_activations(one_row, X, folder, batch_size=4)
    verify_shards(folder)


def damaged(folder, message):
    with pytest.raises(ValueError, match=message) as caught:
        columns(folder)
    assert "\n" not in str(caught.value) and str(folder) in str(caught.value)


def test_the_manifest_is_compared_with_the_files(tmp_path):
    folder = write_activations(one_row, X, tmp_path / "a", batch_size=4, rows_per_shard=8)
    last, text = folder / "shard-00003.safetensors", (folder / "shards.json").read_text()
    whole = last.read_bytes()
    last.unlink()
    damaged(folder, "shard-00003.safetensors is missing: restore the folder, or write it again")
    last.write_bytes((folder / "shard-00002.safetensors").read_bytes())
    damaged(folder, "shard-00003.safetensors has 8 rows, but 5 were written")
    last.write_bytes(whole)
    (folder / "shard-00004.safetensors").write_bytes(whole)
    damaged(folder, "shard-00004.safetensors is not in shards.json")
    (folder / "shard-00004.safetensors").unlink()
    for old, new, message in (
        ("float32[N, 4]", "float16[N, 4]", r"holds {'x': 'float32\[N, 4\]'}, but {'x': 'float16"),
        ('"count": 4', '"count": 5', "is incomplete, with 4 of 5 shards: write it to its end"),
        ('"format": 1', '"format": 2', "shards.json has format 2, and 1 is read here"),
        ('"rows": 5', '"rows": "5"', "shards.json is damaged: write the shards again"),
        ('"count": 4,', "", "shards.json is damaged: write the shards again"),
        (text, text[:-9], "shards.json is not JSON"),
        (text, "[]", "shards.json has format None"),
    ):
        assert old in text
        (folder / "shards.json").write_text(text.replace(old, new))
        damaged(folder, message)
    (folder / "shards.json").write_text(text)
    columns(folder)
    flipped = bytearray(whole)
    flipped[-3] ^= 1
    last.write_bytes(flipped)
    with pytest.raises(ValueError, match="shard-00003.safetensors has changed since it was"):
        verify_shards(folder)
    assert hashlib.sha256(whole).hexdigest() in text
    last.unlink()
    os.mkfifo(last)
    with pytest.raises(ValueError, match="shard-00003.safetensors is not a regular file"):
        verify_shards(folder)
    for name in ("../a.safetensors", "/a.safetensors", "..", ""):
        other = text.replace("shard-00003.safetensors", name)
        (folder / "shards.json").write_text(other)
        with pytest.raises(ValueError, match=f"names '{name}', which is no file of this folder"):
            verify_shards(folder)
