"""`fit` on rows that are computed is `fit` on the same rows as an array."""

import json
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ae_jax.data.generated import Generated
from ae_jax.models import Denoising, Vanilla
from ae_jax.networks import MLP
from ae_jax.storage.runs import Run
from ae_jax.training import fit, sweep
from ae_jax.training.diagnosis import DivergedError
from ae_jax.training.plan import make_plan

pytestmark = pytest.mark.usefixtures("compiled_once")
TABLE = np.random.default_rng(0).random((7, 6), np.float32)
AE = Vanilla(network=MLP(widths=(5,)), latent_dim=2, loss="mse").build((6,))
SGD = optax.sgd(0.1)


def rows_of(table, rows):
    return {"x": table[rows % 7] * (1 + jnp.cos(rows.astype(jnp.float32)))[:, None] / 2}


def make(length=22, fn=rows_of, **fields):
    return Generated(fn, length, arrays=TABLE, identity="cosines", **fields)


def arrays(first, count):
    return make().read(np.arange(first, first + count))["x"]


def assert_close(a, b):
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6), a, b)


def assert_equal(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_it_trains_and_tests_as_the_array_does():
    train = partial(fit, AE, epochs=2, batch_size=8, optimizer=SGD)
    one, other = train(make(), eval_data=make(9)), train(arrays(0, 22), eval_data=arrays(0, 9))
    assert_close(one.state.params, other.state.params)
    for a, b in zip(one.history, other.history, strict=True):
        assert (a["step"], a["split"]) == (b["step"], b["split"])
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-5)


def test_fresh_epochs_continue_where_the_last_one_ended():
    """An epoch on fresh rows is one on an array of them, in turn; batches of 22 are the array."""
    train = partial(fit, AE, epochs=1, batch_size=22, optimizer=SGD)
    params = train(arrays(0, 22)).state.params
    params = train(arrays(22, 22), params=params).state.params
    fresh = train(make(fresh=True), epochs=2)
    assert_close(fresh.state.params, params)


def test_batches_of_fresh_rows_are_in_turn():
    plan = make_plan(AE, make(fresh=True), epochs=2, batch_size=8)
    for epoch in (0, 3):
        ((piece, first, count),) = plan.feed.pieces(epoch, 0, 3)
        batches = [plan.feed.batch_at(piece, first + i) for i in range(count)]
        rows = np.concatenate([b["x"][b["mask"] == 1] for b in batches])
        np.testing.assert_allclose(rows, arrays(22 * epoch, 22), rtol=1e-6)


@pytest.mark.parametrize("fresh", [pytest.param(False, marks=pytest.mark.slow), True])
def test_a_resumed_run_has_the_bits_of_a_whole_one(tmp_path, fresh):
    run = partial(fit, AE, batch_size=8, optimizer=optax.adam(1e-2))
    train = partial(run, make(fresh=fresh))
    whole = train(steps=7)
    train(steps=4, run_dir=tmp_path / "run")
    stored = json.loads((tmp_path / "run" / "config.json").read_text())["fingerprint"]["train"]
    assert " rule " in stored["x"]
    assert_equal(
        whole.state.params, train(steps=7, run_dir=tmp_path / "run", resume=True).state.params
    )
    other = Generated(rows_of, 22, arrays=TABLE, identity="sines", fresh=fresh)
    with pytest.raises(ValueError, match="train 'x' has other values"):
        run(other, steps=9, run_dir=tmp_path / "run", resume=True)


@pytest.mark.parametrize("fresh", [pytest.param(False, marks=pytest.mark.slow), True])
def test_on_four_devices_it_is_the_run_of_one(fresh):
    data = make(fresh=fresh)
    train = partial(fit, AE, data, epochs=2, batch_size=6, optimizer=SGD, eval_data=data)
    one, four = train(), train(devices=4)
    assert_close(four.state.params, one.state.params)
    assert four.history[-1]["loss"] == pytest.approx(one.history[-1]["loss"], rel=1e-5)


def test_each_device_computes_its_own_rows():
    plan = make_plan(AE, make(24, fresh=True), epochs=1, batch_size=8, devices=4)
    assert "f32[2,6]" in plan.loop.as_text()
    assert "f32[8,6]" not in plan.loop.as_text()


@pytest.mark.parametrize("fresh", [pytest.param(False, marks=pytest.mark.slow), True])
def test_a_sweep_trains_on_it(fresh, tmp_path):
    data = make(fresh=fresh)
    run = partial(sweep, lambda: AE, {}, [3, 4], data, batch_size=8, optimizer=optax.sgd)
    swept = run(epochs=2, learning_rate=0.1, eval_data=data, run_dir=tmp_path / "run")
    for i, seed in enumerate((3, 4)):
        alone = fit(AE, data, epochs=2, batch_size=8, optimizer=SGD, seed=seed, eval_data=data)
        assert_close(swept.replica(i).params, alone.state.params)
        assert swept.history[-1]["loss"][i] == pytest.approx(alone.history[-1]["loss"], rel=1e-5)


@pytest.mark.slow
def test_noise_and_accumulation():
    ae = Denoising(network=MLP(widths=(5,)), latent_dim=2, loss="mse").build((6,))
    train = partial(fit, ae, epochs=1, batch_size=4, accumulate=2, optimizer=SGD)
    assert_close(train(make()).state.params, train(arrays(0, 22)).state.params)


def test_it_is_never_streamed():
    plan = make_plan(AE, make(), epochs=1, eval_data=arrays(0, 9), stream=True)
    assert plan.streamed == {"train": False, "eval_data": True}


def test_a_long_set_has_no_order_in_memory():
    plan = make_plan(AE, make(2**31 - 1, fresh=True), steps=2, batch_size=8)
    ((piece, _, _),) = plan.feed.pieces(0, 0, 1)
    assert sum(leaf.nbytes for leaf in jax.tree.leaves(piece)) < 1000
    assert plan.sizes.per_epoch == 2**28


def test_a_bad_row_is_named(tmp_path):
    def bad(table, rows):
        x = rows_of(table, rows)["x"]
        return {"x": jnp.where(rows[:, None] == 2005, jnp.nan, x)}

    data = make(1001, bad, fresh=True)
    with pytest.raises(DivergedError, match="the batch"):
        fit(AE, data, epochs=3, batch_size=10, run_dir=tmp_path / "run")
    report = json.loads((Run.open(tmp_path / "run").path / "nonfinite.json").read_text())
    assert report["epoch"] == 2 and report["examples"] == list(range(2002, 2012))
