"""Updates that are not finite: left out, counted, and reported with where they came from."""

import json
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import PartitionSpec as P

from ae_jax import load_run
from ae_jax.core import Term
from ae_jax.devices.mesh import data_mesh
from ae_jax.models import Vanilla, Variational
from ae_jax.networks import MLP
from ae_jax.storage.checkpoint import Checkpoints
from ae_jax.storage.runs import Run
from ae_jax.training import DivergedError, fit, init_state, make_train_step
from ae_jax.training.diagnosis import first_not_finite
from ae_jax.training.step import SCALE, scaled_sum
from experiments.stress.worker import digest

pytestmark = pytest.mark.usefixtures("compiled_once")
RNG = np.random.default_rng(0)
X = np.uint8(RNG.integers(0, 256, size=(64, 4, 3)))
VAE = Variational(network=MLP(widths=(8,)), latent_dim=2).build((4, 3))
FLOATS = np.float32(RNG.normal(size=(64, 6)))
MSE = Vanilla(network=MLP(widths=(8,)), latent_dim=3, loss="mse").build((6,))


def spoiled(*rows):
    """Finite data whose squared error is not, in these rows."""
    x = FLOATS.copy()
    x[list(rows)] = 1e30
    return x


def test_the_guard_changes_no_bit_of_a_finite_update(numpy_state):
    tx = optax.adam(1e-2)
    state, batch = numpy_state(VAE, tx), {"x": jnp.asarray(X[:8])}
    plain, _ = jax.jit(make_train_step(VAE, tx))(state, batch)
    guarded, _ = jax.jit(make_train_step(VAE, tx, guard=True))(state, batch)
    assert digest(guarded) == digest(plain)
    whole, _ = jax.jit(make_train_step(VAE, tx, guard="whole"))(state, batch)
    close = partial(
        np.testing.assert_allclose, rtol=1e-6, atol=1e-9
    )  # the flags of the tests round it otherwise
    jax.tree.map(close, whole.params, plain.params)


def test_a_gradient_that_is_not_finite_is_noticed_under_a_finite_loss(numpy_state):
    root = Term(lambda o, b: jnp.sqrt(0.0 * jnp.abs(o["logits"]).sum((1, 2))))
    ae = replace(VAE, objective={"root": root})
    state, batch = numpy_state(ae, optax.sgd(0.1)), {"x": jnp.asarray(X)}
    moved, metrics = jax.jit(make_train_step(ae, optax.sgd(0.1), guard=True))(state, batch)
    assert float(metrics["loss"]) == 0.0 and not metrics["finite"]
    assert digest(moved.replace(step=state.step)) == digest(state)
    first, _ = first_not_finite(ae, state, batch)
    assert first.startswith("the gradient of ")


SHAPES = {"scalar": (), "bias": (5,), "kernel": (300, 7), "odd": (301, 7), "conv": (3, 3, 4, 6)}
LARGE = 1.01 * np.sqrt(np.finfo(np.float32).max)  # whose square is not finite in float32


@pytest.mark.parametrize("where", SHAPES)
@pytest.mark.parametrize(
    "bad", [(np.nan,), (np.inf,), (-np.inf, np.inf), (LARGE,), (LARGE, -LARGE)]
)
def test_nothing_whose_square_is_not_finite_survives_the_scaled_sum(where, bad):
    grads = {k: np.asarray(RNG.normal(size=n), np.float32) for k, n in SHAPES.items()}
    total = jax.jit(scaled_sum)
    want = SCALE * sum(np.sum(g, dtype=np.float64) for g in grads.values())
    size = SCALE * sum(np.abs(g).sum() for g in grads.values())
    np.testing.assert_allclose(float(total(grads)), want, rtol=0, atol=1e-6 * size)
    columns = SHAPES[where][-1] if len(SHAPES[where]) > 1 else 1
    column = grads[where].reshape(-1, columns)[:, -1]  # a view
    column[-1] = 0.98 * LARGE
    assert np.isfinite(total(grads))
    column[-len(bad) :] = bad[-len(column) :]
    assert not np.isfinite(total(grads))


def test_a_gradient_whose_square_is_not_finite_is_left_out_and_named(numpy_state):
    large = Term(lambda o, b: 1e20 * o["logits"].sum((1, 2)))
    ae = replace(VAE, objective={"large": large})
    state = numpy_state(ae, optax.adam(0.1))
    step = make_train_step(ae, optax.adam(0.1), guard=True)
    moved, metrics = jax.jit(step)(state, {"x": jnp.asarray(X)})
    assert np.isfinite(metrics["loss"]) and not metrics["finite"]
    assert digest(moved.replace(step=state.step)) == digest(state)
    first, _ = first_not_finite(ae, state, {"x": jnp.asarray(X)})
    assert first == "the square of a gradient"


def test_an_update_that_spoils_the_state_is_named():
    bad = replace(MSE, after_update=lambda state, *_: state.replace(
        params=jax.tree.map(lambda p: p * jnp.inf, state.params)
    ))  # fmt: skip
    with pytest.raises(DivergedError, match="is in the new parameter .*; lower the learning rate"):
        fit(bad, FLOATS, epochs=1, batch_size=64)


def overflowing():
    """SGD whose new parameters are infinite where a gradient is large, and still has a square."""

    def update(grads, params):
        large = jnp.any(jnp.stack([jnp.abs(g).max() for g in jax.tree.leaves(grads)]) > 1e6)
        return jax.tree.map(lambda g: jnp.where(large, jnp.inf, -0.01 * g), grads)

    return optax.stateless(update)


def test_an_optimizer_that_overflows_is_undone_where_updates_may_be_skipped(numpy_state):
    x = FLOATS.copy()
    x[17] = 1e9
    state, history = fit(MSE, x, epochs=2, batch_size=8, optimizer=overflowing(), max_skips=1)
    assert sum(row.get("skipped", 0) for row in history) == 2
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state.params))
    with pytest.raises(DivergedError, match="step 3: .* is in the parameter"):  # the next step
        fit(MSE, x, epochs=2, batch_size=8, optimizer=overflowing())


def test_every_device_leaves_out_what_one_of_them_finds(numpy_state):
    mesh, tx = data_mesh(4), optax.sgd(0.1)
    state = numpy_state(MSE, tx)
    step = make_train_step(MSE, tx, axis_name="data", guard=True)
    mapped = jax.jit(jax.shard_map(step, mesh=mesh, in_specs=(P(), P("data")), out_specs=P()))
    for x, finite in ((FLOATS, True), (spoiled(5), False)):
        moved, metrics = mapped(state, {"x": jnp.asarray(x)})
        assert bool(metrics["finite"]) == finite
        assert (digest(moved.replace(step=state.step)) == digest(state)) != finite


@pytest.mark.parametrize("log_every", [1, None])
def test_skipping_leaves_out_one_batch_of_each_epoch(tmp_path, log_every):
    options = {"epochs": 2, "batch_size": 8, "log_every": log_every}
    state, history = fit(MSE, spoiled(17), **options, max_skips=1, run_dir=tmp_path / "run")
    assert int(state.step) == 16
    assert sum(row.get("skipped", 0) for row in history) == 2
    if log_every is None:
        assert all(np.isfinite(row["loss"]) for row in history)
    else:  # a row of nothing but that batch has no mean, and JSON no NaN
        (bad, _) = [row for row in history if "skipped" in row]
        assert np.isnan(bad["loss"])
        assert '"loss": null' in (tmp_path / "run" / "metrics.jsonl").read_text()
        stored = Run.open(tmp_path / "run").rows()
        assert np.isnan(stored[history.index(bad)]["loss"])
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state.params))


def test_by_default_the_first_stops_the_run_and_says_where(tmp_path):
    run_dir = tmp_path / "run"
    before = digest(fit(MSE, FLOATS, epochs=1, batch_size=8, run_dir=run_dir).state)
    with pytest.raises(DivergedError, match="the term 'mse' is inf") as caught:
        fit(MSE, spoiled(17), epochs=3, batch_size=8, run_dir=run_dir, resume=True,
            allow_changes=True)  # fmt: skip
    message, report = str(caught.value), json.loads((run_dir / "nonfinite.json").read_text())
    assert "\n" not in message and f"stopped at step {report['step']}:" in message
    assert "the first value that is not finite is in the term 'mse'" in message
    assert 17 in report["examples"] and len(report["examples"]) == 8
    assert 8 <= report["step"] < 16 and report["terms"]["mse"] is None
    store = Run.open(run_dir).checkpoints(read_only=True)
    assert store.steps() == [8] and int(load_run(run_dir).state.step) == 8
    target = jax.eval_shape(lambda: init_state(MSE, optax.adam(1e-3), jax.random.key(0)))
    assert digest(store.restore(target)) == before


def test_a_streak_stops_and_what_comes_between_does_not():
    for log_every in (1, None):  # whatever rows it goes over
        with pytest.raises(DivergedError, match="stopped at step 3:"):
            fit(MSE, spoiled(*range(64)), epochs=1, batch_size=8, max_skips=3, log_every=log_every)
    fit(MSE, spoiled(*range(0, 64, 8)), epochs=3, batch_size=4, max_skips=16)


def test_the_first_layer_with_a_bad_value_is_named(numpy_state):
    state = numpy_state(MSE, optax.adam(1e-3))
    batch = {"x": jnp.asarray(FLOATS)}
    assert first_not_finite(MSE, state, batch)[0] is None
    first = jax.tree.map(lambda a: a, state.params)
    first["encoder"]["Dense_0"]["kernel"] = jnp.full((6, 8), 3e38)
    name, _ = first_not_finite(MSE, state.replace(params=first), batch)
    assert name == "the output of encoder/Dense_0"  # and not of code, which comes before it in name
    params = jax.tree.map(lambda a: a, state.params)
    params["code"]["kernel"] = jnp.full((8, 3), 3e38)  # finite, and its products are not
    params["encoder"]["Dense_0"]["bias"] = jnp.full((8,), 1e3)
    assert first_not_finite(MSE, state.replace(params=params), batch)[0] == "the output of code"
    params["decoder"]["Dense_1"]["bias"] = jnp.full((6,), jnp.nan)
    name, terms = first_not_finite(MSE, state.replace(params=params), batch)
    assert name == "the parameter decoder/Dense_1/bias" and np.isnan(terms["mse"])
    spoilt = {"x": batch["x"].at[2, 2].set(jnp.inf)}
    assert first_not_finite(MSE, state, spoilt)[0] == "the batch"


def test_a_checkpoint_never_holds_a_nan(tmp_path, numpy_state):
    state = numpy_state(MSE, optax.adam(1e-3))
    bad = jax.tree.map(lambda a: a.at[0].set(jnp.nan), state.params)
    store = Checkpoints(tmp_path)
    with pytest.raises(ValueError, match="step 0: model/params/.* is not finite"):
        store.save(state.replace(params=bad))
    moments = jax.tree.map(lambda a: a * jnp.nan, state.opt_state)
    with pytest.raises(ValueError, match="training/opt_state/.* is not finite"):
        store.save(state.replace(opt_state=moments))
    overflowed = jax.tree.map(lambda a: a + jnp.inf if a.ndim else a, state.opt_state)
    with pytest.raises(ValueError, match="training/opt_state/.* is not finite"):
        store.save(state.replace(opt_state=overflowed))
    assert list(tmp_path.iterdir()) == []
    store.save(state.replace(opt_state={"best": jnp.float32(jnp.inf)}))  # a loss, at first


def test_a_step_that_cannot_be_repeated_is_reported_all_the_same(tmp_path, monkeypatch):
    def fails(*_):
        raise RuntimeError("out of memory")

    monkeypatch.setattr("ae_jax.training.diagnosis.first_not_finite", fails)
    with pytest.raises(
        DivergedError, match="was not finite; its first value .* could not be located"
    ):
        fit(MSE, spoiled(17), epochs=1, batch_size=8, run_dir=tmp_path / "run")
    report = json.loads((tmp_path / "run" / "nonfinite.json").read_text())
    assert 17 in report["examples"] and report["first_not_finite"] is None
