"""fit(): order, padding, compilation, resume, and what it refuses."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ae_jax import load_run
from ae_jax.core import Term
from ae_jax.data.memory import epoch_order, row_of, sequential_order
from ae_jax.models import Vanilla, Variational
from ae_jax.networks import MLP
from ae_jax.storage.runs import Run
from ae_jax.training import fit, init_state, make_eval_step, make_train_step

pytestmark = pytest.mark.usefixtures("compiled_once")
RNG = np.random.default_rng(0)
X = np.uint8(RNG.integers(0, 256, size=(50, 4, 3)))
AE = Vanilla(network=MLP(widths=(8,)), latent_dim=3).build((4, 3))
VAE = Variational(network=MLP(widths=(8,)), latent_dim=2).build((4, 3))


def assert_same(a, b):
    """Bit for bit."""
    a, b = (s.replace(key=jax.random.key_data(s.key)) for s in (a, b))
    jax.tree.map(np.testing.assert_array_equal, a, b)


def without_speed(rows):
    return [{k: v for k, v in row.items() if k != "images_per_second"} for row in rows]


@pytest.mark.parametrize(
    "ae", [AE, pytest.param(VAE, marks=pytest.mark.slow)], ids=["vanilla", "vae"]
)
@pytest.mark.parametrize("batch_size", [pytest.param(10, marks=pytest.mark.slow), 16])
def test_fit_equals_a_plain_loop(ae, batch_size):
    """The compiled loop against the step called by hand on batches sliced in NumPy."""
    state, history = fit(ae, X, epochs=2, batch_size=batch_size, seed=3)
    init_key, order_key, _ = jax.random.split(jax.random.key(3), 3)
    tx = optax.adam(1e-3)
    step = jax.jit(make_train_step(ae, tx))
    expected = jax.jit(lambda key: init_state(ae, tx, key))(init_key)
    for epoch in range(2):
        order = np.asarray(epoch_order(order_key, epoch, count=50, batch_size=batch_size))
        total = 0.0
        for rows in order:
            expected, metrics = step(expected, {"x": X[rows[rows >= 0]]})
            total += float(metrics["loss"]) * (rows >= 0).sum()
        if ae is AE:  # a VAE's noise has the shape of the batch, padding included
            np.testing.assert_allclose(history[epoch]["loss"], total / 50, rtol=1e-5)
    assert int(state.step) == int(expected.step) == 2 * -(-50 // batch_size)
    if ae is AE or batch_size == 10:
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6),
            state.params,
            expected.params,
        )


def test_every_epoch_visits_every_example_once():
    key = jax.random.key(0)
    orders = [np.asarray(epoch_order(key, e, count=50, batch_size=16)) for e in range(3)]
    for order in orders:
        assert order.shape == (4, 16)
        rows = order.ravel()
        assert sorted(rows[:50]) == list(range(50))
        # Padding is spread: its rows are copies of examples, each at most once.
        assert (rows[50:] < 0).all()
        np.testing.assert_array_equal(row_of(rows[50:]), rows[:14])
    assert not np.array_equal(orders[0], orders[1])
    np.testing.assert_array_equal(sequential_order(count=3, batch_size=2), [[0, 1], [2, -1]])


def test_padding_repeats_no_example_more_than_it_must():
    order = np.asarray(sequential_order(count=5, batch_size=4, multiple=3))
    assert order.shape == (2, 6)
    rows, counts = np.unique(row_of(order), return_counts=True)
    assert rows.tolist() == [0, 1, 2, 3, 4] and set(counts) == {2, 3}
    np.testing.assert_array_equal(order[order >= 0], np.arange(5))


def test_same_seed_same_bits_and_other_seed_other_run():
    a, b = (fit(VAE, X, epochs=2, batch_size=16, seed=1) for _ in range(2))
    assert_same(a.state, b.state)
    assert without_speed(a.history) == without_speed(b.history)
    c = fit(VAE, X, epochs=2, batch_size=16, seed=2)
    assert c.history[-1]["loss"] != a.history[-1]["loss"]


@pytest.mark.slow
def test_chunks_do_not_change_the_run():
    whole = fit(VAE, X, epochs=2, batch_size=8)
    chunked = fit(VAE, X, epochs=2, batch_size=8, log_every=3)
    assert_same(whole.state, chunked.state)
    assert [row["step"] for row in chunked.history] == [3, 6, 7, 10, 13, 14]
    weights = np.array([24, 24, 2])
    rows = np.array([row["loss"] for row in chunked.history[:3]])
    np.testing.assert_allclose(whole.history[0]["loss"], (weights * rows).sum() / 50, rtol=1e-5)


def test_steps_may_end_inside_an_epoch():
    state, history = fit(AE, X, steps=10, batch_size=8, eval_data=X)
    assert int(state.step) == 10
    assert [(r["step"], r["split"]) for r in history] == [
        (7, "train"), (7, "test"), (10, "train"), (10, "test"),
    ]  # fmt: skip
    assert history[-1]["epoch"] == pytest.approx(10 / 7)


def test_test_rows_are_means_over_the_whole_set():
    state, history = fit(AE, X, epochs=1, batch_size=16, eval_data={"x": X[:37]})
    expected = make_eval_step(AE)(state, {"x": jnp.asarray(X[:37])})
    np.testing.assert_allclose(history[-1]["bce"], expected["bce"], rtol=1e-5)
    assert history[-1]["split"] == "test"


def test_the_step_compiles_once(caplog):
    """Two epochs in uneven chunks, with evaluation: one compilation of each program."""
    with jax.log_compiles(), caplog.at_level("WARNING"):
        fit(AE, X, epochs=3, batch_size=16, log_every=3, eval_data=X)
    messages = [record.getMessage() for record in caplog.records]
    compiled = [message for message in messages if "Finished XLA compilation" in message]
    assert sum("jit(run)" in message for message in compiled) == 2, compiled  # train and eval


def test_float_data_and_vectors():
    x = np.float32(RNG.normal(size=(30, 6)))
    ae = Vanilla(latent_dim=2, loss="mse").build((6,))
    _, history = fit(ae, x, epochs=30, batch_size=10, optimizer=optax.adam(1e-2))
    assert history[-1]["loss"] < 0.9 * history[0]["loss"]


def test_a_callback_sees_every_row_and_may_stop():
    seen = []

    def callback(state, row):
        seen.append((int(state.step), row["split"]))
        return row["epoch"] >= 2

    state, _ = fit(AE, X, epochs=9, batch_size=25, eval_data=X, callbacks=[callback])
    assert seen == [(2, "train"), (2, "test"), (4, "train"), (4, "test")]
    assert int(state.step) == 4


def test_the_run_directory_holds_the_run(tmp_path):
    state, history = fit(VAE, X, epochs=2, batch_size=16, eval_data=X, run_dir=tmp_path / "run")
    run = Run.open(tmp_path / "run")
    assert run.rows() == history
    assert set(history[0]) == {"step", "epoch", "split", "loss", "nll", "kl", "images_per_second"}
    ae, loaded, config = load_run(tmp_path / "run")
    assert config["seed"] == 0 and config["event_shape"] == [4, 3]
    assert int(loaded.step) == 8
    np.testing.assert_array_equal(ae.encode(loaded.variables, X), VAE.encode(state.variables, X))


BAD = np.float32(RNG.uniform(size=(50, 4, 3)))
NAN = BAD.copy()
NAN[7, 1, 2] = np.nan


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        (NAN, {}, r"train: 1 of the 600 values of x are NaN, .*\[7, 1, 2\]"),
        (np.where(np.isnan(NAN), np.inf, NAN), {}, r"\[7, 1, 2\]"),
        (BAD[0, 0], {}, "train: x has shape"),
        (BAD[:, 0], {}, r"built for \[N, 4, 3\]"),
        (BAD.astype(np.int64), {}, "int64"),
        (BAD * 3 - 1, {}, "the loss needs"),
        (BAD[:0], {}, "empty"),
        ({"x": BAD, "label": np.zeros(49, int)}, {}, "label has 49"),
        (BAD, {"batch_size": 0}, "batch_size=0"),
        (BAD, {"batch_size": 51}, "batch_size=51: larger than the data, 50"),
        (BAD, {"batch_size": 2.5}, "batch_size=2.5"),
        (BAD, {"epochs": -1}, "epochs=-1"),
        (BAD, {"epochs": None}, "exactly one"),
        (BAD, {"steps": 3}, "exactly one"),
        (BAD, {"ema_decay": 1.0}, "ema_decay=1.0"),
        (BAD, {"log_every": 0}, "log_every=0"),
        (BAD, {"eval_data": NAN}, "eval_data: 1 of the 600"),
    ],
)
def test_bad_input_is_refused_before_anything_is_written(tmp_path, data, options, message):
    run_dir = tmp_path / "run"
    with pytest.raises((ValueError, TypeError), match=message) as caught:
        fit(AE, data, **({"epochs": 1, "batch_size": 10, "run_dir": run_dir} | options))
    assert "\n" not in str(caught.value)
    assert not run_dir.exists()


def test_mse_takes_any_floats():
    fit(Vanilla(loss="mse").build((4, 3)), BAD * 300 - 100, epochs=1, batch_size=50)


def test_rows_the_data_masks_count_for_nothing():
    mask = np.float32(np.arange(50) < 30)
    data = {"x": X, "mask": mask}
    state, history = fit(AE, data, epochs=1, batch_size=16, eval_data=data)
    expected = make_eval_step(AE)(state, {"x": jnp.asarray(X[:30])})
    np.testing.assert_allclose(history[-1]["bce"], expected["bce"], rtol=1e-5)


@pytest.mark.slow
def test_a_run_stopped_before_its_first_checkpoint_can_be_resumed(tmp_path):
    whole = fit(AE, X, epochs=2, batch_size=16)
    Run.create(tmp_path / "run", {"model": None})
    resumed = fit(AE, X, epochs=2, batch_size=16, run_dir=tmp_path / "run", resume=True)
    assert_same(whole.state, resumed.state)


def test_what_cannot_be_traced_leaves_no_run_directory(tmp_path):
    with pytest.raises(ValueError, match="length: this model does not read sequences"):
        data = {"x": X, "length": np.full(50, 4)}
        fit(AE, data, epochs=1, batch_size=10, run_dir=tmp_path / "run")
    broken = dataclasses.replace(AE, objective={"bad": Term(lambda o, b: o["nothing"])})
    with pytest.raises(ValueError, match="the term 'bad' reads 'nothing', which neither"):
        fit(broken, X, epochs=1, batch_size=10, run_dir=tmp_path / "run")
    assert not (tmp_path / "run").exists()
