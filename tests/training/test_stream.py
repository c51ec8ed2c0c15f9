"""Streamed data gives the batches, and so the results, of data on the device."""

import logging
import threading
import time
from functools import partial

import jax
import numpy as np
import optax
import pytest

from ae_jax.data import load, prepare, stream
from ae_jax.data.memory import InMemory, epoch_order
from ae_jax.data.pipeline import which_to_stream
from ae_jax.data.records import Records
from ae_jax.data.stream import Streamed
from ae_jax.devices import memory
from ae_jax.devices.mesh import data_mesh
from ae_jax.models import Denoising, Vanilla
from ae_jax.networks import MLP, RNN
from ae_jax.pretraining import fit_greedy
from ae_jax.training import fit, sweep

pytestmark = pytest.mark.usefixtures("compiled_once")
RNG = np.random.default_rng(0)
X = RNG.integers(0, 256, (50, 6, 5), np.uint8)
DATA = {"x": X, "length": RNG.integers(1, 7, 50).astype(np.int32)}
ORDER = partial(epoch_order, jax.random.key(3), count=50, batch_size=8)


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    """A few batches to a chunk, so that an epoch of 7 ends inside its last one."""
    monkeypatch.setattr(stream, "CHUNK_BYTES", 3 * 9 * 34)


def batches(feed, *stretches):
    """Every batch of the pieces, in order."""
    return [
        {name: np.asarray(rows) for name, rows in feed.batch_at(data, first + i).items()}
        for stretch in stretches
        for data, first, count in feed.pieces(*stretch)
        for i in range(count)
    ]


def assert_equal(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def assert_close(a, b):
    """Up to the rounding of sums: the batches are equal, what XLA fuses with taking them is not."""
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6), a, b)


@pytest.mark.parametrize(("devices", "chunks"), [(1, 3), (4, 4)])
def test_the_batches_are_those_of_the_pipeline_in_memory(devices, chunks, monkeypatch):
    monkeypatch.setattr(stream, "CHUNK_BYTES", stream.CHUNK_BYTES // devices)
    mesh = data_mesh(devices)
    order = partial(ORDER, multiple=3 * devices)
    feeds = [pipeline(DATA, order, padded=True, mesh=mesh) for pipeline in (InMemory, Streamed)]
    stretches = [(0, 0, 7), (1, 0, 2), (1, 2, 5), (4, 5, 1), (2, 3, 4)]  # onwards, inside, jumping
    memory, streamed = (batches(feed, *stretches) for feed in feeds)
    assert len(memory) == 7 + 7 + 1 + 4
    assert_equal(memory, streamed)
    assert len(list(feeds[1].pieces(5, 0, 7))) == chunks


def test_an_epoch_has_every_example_once():
    feed = Streamed({"x": np.arange(50)[:, None]}, ORDER, padded=True, mesh=data_mesh(1))
    for epoch in range(2):
        seen = [batch["x"][batch["mask"] == 1, 0] for batch in batches(feed, (epoch, 0, 7))]
        assert sorted(np.concatenate(seen)) == list(range(50))


def test_chunks_are_read_ahead_and_no_further():
    read = []

    class Slow:
        shape, nbytes = (50, 30), 50 * 30

        def __len__(self):
            return 50

        def __getitem__(self, rows):
            read.append(len(rows))
            return np.zeros((len(rows), 30), np.uint8)

    feed = Streamed({"x": Slow()}, ORDER, padded=True, mesh=data_mesh(1))
    pieces = feed.pieces(0, 0, 7)
    next(pieces)
    deadline = time.monotonic() + 30
    while len(read) < 1 + stream.AHEAD and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.2)  # in which a third one would be read
    assert len(read) == 1 + stream.AHEAD


def test_the_threads_end_with_the_run():
    ae = Vanilla(latent_dim=2).build((6, 5))
    before = threading.active_count()
    for _ in range(3):
        fit(ae, X, steps=3, batch_size=8, eval_data=X, stream=True)
    deadline = time.monotonic() + 30
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() <= before


SPECS = {
    "dense": Vanilla(network=MLP(widths=(8,)), latent_dim=3),
    "lengths": Vanilla(network=RNN(widths=(4, 3)), latent_dim=None, loss="mse"),
    "noise": Denoising(network=MLP(widths=(8,)), latent_dim=3, noise="gaussian", level=0.3),
}


@pytest.mark.parametrize(
    "name", ["dense", *(pytest.param(n, marks=pytest.mark.slow) for n in ("lengths", "noise"))]
)
def test_a_streamed_run_is_the_run_in_memory(name):
    ae, data = SPECS[name].build((6, 5)), DATA if name == "lengths" else {"x": X}
    train = partial(fit, ae, data, epochs=2, batch_size=8, eval_data=data, log_every=5, seed=4)
    memory, streamed = (train(stream=stream) for stream in (False, True))
    assert_close(memory.state.params, streamed.state.params)
    for a, b in zip(memory.history, streamed.history, strict=True):
        assert a["step"] == b["step"] and a["split"] == b["split"] and a.keys() == b.keys()
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-5)


def test_a_resumed_stream_goes_on_where_it_was(tmp_path):
    ae = SPECS["dense"].build((6, 5))
    train = partial(fit, ae, X, batch_size=8, optimizer=optax.adam(1e-2), stream=True)
    whole = train(steps=12)
    train(steps=5, run_dir=tmp_path / "run")
    rest = train(steps=12, run_dir=tmp_path / "run", resume=True)
    assert_equal(whole.state.params, rest.state.params)


@pytest.mark.slow
def test_on_several_devices_it_is_the_run_of_one():
    ae = SPECS["noise"].build((6, 5))
    train = partial(fit, ae, X, epochs=2, batch_size=6, optimizer=optax.sgd(0.1))
    one, four = train(), train(devices=4, stream=True)
    assert_close(one.state.params, four.state.params)


@pytest.fixture(scope="module")
def mnist(tmp_path_factory):
    """A folder with forty random images, prepared as MNIST."""
    folder = tmp_path_factory.mktemp("data")
    x = RNG.integers(0, 256, (40, 28, 28, 1), np.uint8)
    prepare.write("mnist", {s: (x, np.zeros(40, int)) for s in ("train", "test")}, folder)
    return folder


@pytest.fixture
def records(mnist):
    return load("mnist", "train", mnist, decode="always")


def test_mapped_files_and_records_train_as_arrays_do(tmp_path, monkeypatch, mnist, records):
    monkeypatch.setenv("AE_JAX_CACHE", str(tmp_path / "cache"))
    mapped = load("mnist", "train", mnist)
    assert isinstance(records["x"], Records) and records["x"].shape == (40, 28, 28, 1)
    ae = Vanilla(latent_dim=3).build((28, 28, 1))
    train = partial(fit, ae, epochs=2, batch_size=16)
    memory = train(np.array(mapped["x"]), stream=False).state.params
    streamed = train(mapped["x"], stream=True).state.params
    assert_close(memory, streamed)
    assert_equal(streamed, train(records, eval_data=records).state.params)
    with pytest.raises(ValueError, match="train: is decoded while training"):
        train(records, stream=False)


def test_what_would_not_fit_is_streamed_and_that_is_said(monkeypatch, caplog):
    monkeypatch.setattr(memory, "memory_bytes", lambda: 2_900_000)
    ae, mesh = Vanilla(latent_dim=2).build((6, 5)), data_mesh(1)

    def images(count):
        return {"x": np.zeros((count, 6, 5), np.uint8)}

    with caplog.at_level(logging.WARNING):
        assert which_to_stream({"train": images(48_000)}, mesh, None) == {"train": False}
        assert not caplog.records
        fit(ae, images(49_000), steps=1, batch_size=8)
        sets = {"train": images(40_000), "eval_data": images(9_000)}
        assert which_to_stream(sets, mesh, None) == {"train": True, "eval_data": False}
        assert which_to_stream(sets, mesh, True) == {"train": True, "eval_data": True}
    assert [record.getMessage() for record in caplog.records] == [
        "train takes 1.47 MB, more than half of a device's 2.9 MB: it is streamed from the host",
        "train takes 1.2 MB and 270 kB beside it, more than half of a device's 2.9 MB: it is "
        "streamed from the host",
    ]


def test_an_evaluation_that_cannot_be_leaves_no_run_directory(tmp_path, records):
    ae = Vanilla(latent_dim=3).build((28, 28, 1))
    x = np.zeros((20, 28, 28, 1), np.uint8)
    with pytest.raises(ValueError, match="eval_data: is decoded while training"):
        fit(ae, x, steps=1, batch_size=8, eval_data=records, stream=False, run_dir=tmp_path / "r")
    assert not (tmp_path / "r").exists()


def test_records_are_refused_where_they_cannot_be_streamed(records):
    ae = Vanilla(network=MLP(widths=(4,)), latent_dim=3).build((28, 28, 1))
    for train in (
        lambda: fit_greedy(ae, records["x"], epochs=1, batch_size=8),
        lambda: sweep(lambda: ae, {}, [0], records, epochs=1, batch_size=8),
    ):
        with pytest.raises(TypeError, match="decoded while training: load them with decode='once'"):
            train()


@pytest.mark.slow
def test_accumulation_and_a_mask_of_its_own():
    ae = SPECS["dense"].build((6, 5))
    data = {"x": X, "mask": np.float32(np.arange(50) % 3 > 0)}
    train = partial(fit, ae, data, epochs=2, batch_size=4, accumulate=2)
    assert_close(train(stream=False).state.params, train(stream=True).state.params)


def test_parts_of_a_batch_without_a_real_row_change_nothing():
    ae = SPECS["dense"].build((6, 5))
    data = {"x": X[:24], "mask": np.zeros(24, np.float32)}
    data["mask"][0] = 1
    train = partial(fit, ae, data, optimizer=optax.sgd(0.1), epochs=1)
    whole, parts = train(batch_size=8), train(batch_size=4, accumulate=2)
    assert_close(whole.state.params, parts.state.params)


@pytest.mark.slow
def test_a_batch_too_large_for_the_memory_names_one_that_fits(monkeypatch, tmp_path):
    ae = Vanilla(network=MLP(widths=(512,)), latent_dim=2).build((6, 5))
    train = partial(fit, ae, np.zeros((4096, 6, 5), np.uint8), steps=1, run_dir=tmp_path / "run")
    monkeypatch.setattr(memory, "memory_bytes", lambda: 3_000_000)
    with pytest.raises(ValueError, match="^batch_size=4096: needs .* MB .*: use batch_size=") as no:
        train(batch_size=4096)
    assert not (tmp_path / "run").exists()
    train(batch_size=int(str(no.value).split("use batch_size=")[1].split(",")[0]))


@pytest.mark.slow
def test_a_model_too_large_for_the_memory(monkeypatch):
    monkeypatch.setattr(memory, "memory_bytes", lambda: 10_000)
    ae = Vanilla(network=MLP(widths=(512,)), latent_dim=2).build((6, 5))
    with pytest.raises(ValueError, match="a device has 10 kB: use a smaller model"):
        fit(ae, np.zeros((64, 6, 5), np.uint8), steps=1, batch_size=64)


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (2_000_000_000, "2 GB")]
)
def test_sizes_for_people(count, text):
    assert memory.size(count) == text
