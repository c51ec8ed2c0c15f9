"""Training on a folder of shards is training on one array with their rows, bit for bit."""

import logging
import os
import signal
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from ae_jax.data import load, stream
from ae_jax.data.pipeline import which_to_stream
from ae_jax.data.shards import Shards, columns
from ae_jax.devices import memory
from ae_jax.devices.mesh import data_mesh
from ae_jax.models import Vanilla
from ae_jax.networks import MLP
from ae_jax.training import fit, sweep

pytestmark = pytest.mark.usefixtures("compiled_once")
RNG = np.random.default_rng(0)
X = RNG.normal(size=(50, 6)).astype(jnp.bfloat16).astype(np.float32)
AE = Vanilla(network=MLP(widths=(8,)), latent_dim=3, loss="mse").build((6,))
train = partial(fit, AE, batch_size=8, seed=4)


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(stream, "CHUNK_BYTES", 2 * 8 * 24)


def write(folder, x=X, dtype=jnp.bfloat16):
    folder.mkdir(parents=True)
    for i, (start, stop) in enumerate([(0, 17), (17, 18), (18, 50)]):
        save_file({"x": x[start:stop].astype(dtype)}, folder / f"shard-{i}.safetensors")
    return folder


def assert_same(a, b):
    jax.tree.map(np.testing.assert_array_equal, a.state.params, b.state.params)
    rows = [
        [{k: v for k, v in row.items() if k != "images_per_second"} for row in result.history]
        for result in (a, b)
    ]
    assert rows[0] == rows[1]


@pytest.mark.parametrize("streamed", [True, False])
def test_a_run_on_shards_is_that_on_the_concatenated_array(tmp_path, streamed):
    data = columns(write(tmp_path / "acts"))
    one = train(X, eval_data=X, epochs=2, stream=streamed)
    assert_same(one, train(data, eval_data=data, epochs=2, stream=streamed))


def interrupt(state, row):
    if row["step"] == 9:
        signal.raise_signal(signal.SIGINT)


def test_an_interrupted_run_continues_bit_for_bit_even_on_the_array(tmp_path):
    write(tmp_path / "acts" / "train")
    data = load(tmp_path / "acts", "train")
    assert isinstance(data["x"], Shards)
    settings = {"steps": 12, "stream": True, "log_every": 2}
    whole = train(data, **settings)
    for rest in (data, {"x": X}):
        run = tmp_path / f"run-{len(os.listdir(tmp_path))}"
        with pytest.raises(KeyboardInterrupt):
            train(data, run_dir=run, callbacks=[interrupt], **settings)
        assert_same(whole, train(rest, run_dir=run, resume=True, **settings))
    changed = X.copy()
    changed[30, 2] += 1
    other = columns(write(tmp_path / "other", changed))
    with pytest.raises(ValueError, match="is not the data of the training: train 'x' has other"):
        train(other, steps=13, run_dir=run, resume=True)


def test_what_is_refused_or_said(tmp_path, caplog):
    x = X.copy()
    x[[20, 40], 1] = np.nan
    with pytest.raises(
        ValueError,
        match="^train: 2 of the 50 rows of x have values that are NaN.*"
        "the first is row 2 of .*shard-2.safetensors: drop or replace them",
    ):
        train(columns(write(tmp_path / "nan", x)), epochs=1, run_dir=tmp_path / "run")  # fmt: skip
    same = columns(write(tmp_path / "same", np.ones_like(X)))
    for name, data in {
        "train": {"train": same},
        "eval_data": {"train": X, "eval_data": same},
    }.items():
        with pytest.raises(ValueError, match=f"^{name}: x has zero variance: its 50 rows are all"):
            train(epochs=1, run_dir=tmp_path / "run", **data)
    with pytest.raises(ValueError, match=r"^train: x has shape \[50, 6\]; the model was built for"):
        fit(Vanilla(latent_dim=2, loss="mse").build((5,)), columns(write(tmp_path / "x")), epochs=1)
    with pytest.raises(ValueError, match="train: target has shape .*but x has 49 rows"):
        short = columns(tmp_path / "x")["x"].select(np.arange(49))
        train({"x": short, "target": columns(tmp_path / "x")["x"]}, epochs=1)
    assert not (tmp_path / "run").exists()
    x = X.copy()
    x[:, [2, 5]] = 0
    with caplog.at_level(logging.WARNING):
        train(columns(write(tmp_path / "off", x)), epochs=1)
    assert [record.getMessage() for record in caplog.records] == [
        "train: 2 of the 6 elements of x have zero variance, the first is 2, always 0"
    ]


def test_large_shards_are_streamed_and_that_is_said(tmp_path, monkeypatch, caplog):
    data, mesh = columns(write(tmp_path / "acts")), data_mesh(1)  # 1200 bytes as float32
    choose = partial(which_to_stream, {"train": data}, mesh)
    assert choose(None) == {"train": False} and choose(True) == {"train": True}
    monkeypatch.setattr(memory, "memory_bytes", lambda: 4700)
    assert choose(None) == {"train": True} and choose(False) == {"train": False}
    assert [record.getMessage() for record in caplog.records] == [
        "train takes 1.2 kB, more than a quarter of this machine's memory: it is streamed from its "
        "shards"
    ]


def test_a_sweep_reads_shards_that_fit_the_memory(tmp_path):
    data = columns(write(tmp_path / "acts"))
    run = partial(sweep, lambda: AE, {}, [0, 1], epochs=1, batch_size=8)
    for a, b in zip(*(jax.tree.leaves(run(d).state.params) for d in (data, X)), strict=True):
        np.testing.assert_array_equal(a, b)
