"""Every property of training, for every model of a user's own in `tests.core.models`."""

import itertools
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import PartitionSpec as P

from ae_jax import export, load_exported, load_run
from ae_jax.data.memory import epoch_order
from ae_jax.devices.mesh import data_mesh
from ae_jax.training import fit, init_state, make_train_step, sweep
from experiments.stress.worker import digest
from tests.core.models import BATCH, CASES, ROWS, examples, half

pytestmark = pytest.mark.usefixtures("compiled_once")
RATE = 0.05
MOMENTUM = optax.sgd(RATE, momentum=0.9)
STEPS = 4  # an epoch is 3
close = partial(np.testing.assert_allclose, rtol=2e-4, atol=5e-6)


def names(*fast):
    """Over all models, those that are not `fast` in the slow group."""
    slow = pytest.mark.slow
    every = [name if name in fast else pytest.param(name, marks=slow) for name in CASES]
    return pytest.mark.parametrize("name", every)


def train(name, *, quiet=False, **options):
    """A run of a model, with `options` for `fit`."""
    case = CASES[name]
    settings = {"steps": STEPS, "batch_size": BATCH, "optimizer": MOMENTUM, "ema_decay": 0.9}
    settings |= {"eval_data": examples(case, 9, seed=1), "seed": 3}
    return fit(case.quiet if quiet else case.ae, examples(case), **settings | options)


reference = cache(train)
"""On one device, in memory, uninterrupted."""


def assert_same(got, want):
    """Trees bit for bit, with the same dtypes."""
    assert jax.tree.map(jnp.result_type, got) == jax.tree.map(jnp.result_type, want)
    jax.tree.map(np.testing.assert_array_equal, got, want)


def assert_close(got, want):
    """States to the accuracy of sums, with the same dtypes."""
    fields = ("params", "model_state", "opt_state", "ema")
    got, want = ({field: getattr(state, field) for field in fields} for state in (got, want))
    assert jax.tree.map(jnp.result_type, got) == jax.tree.map(jnp.result_type, want)
    jax.tree.map(close, got, want)


def assert_rows_close(got, want):
    for a, b in zip(got, want, strict=True):
        assert a.keys() == b.keys()
        for name in a.keys() - {"split", "images_per_second"}:
            close(a[name], b[name])


def fresh(name, ae=None, **options):
    ae = ae or CASES[name].quiet
    return ae, jax.jit(lambda: init_state(ae, MOMENTUM, jax.random.key(0), **options))()


def batch_of(name, rows=16):
    return {key: jnp.asarray(column) for key, column in examples(CASES[name], rows).items()}


@names("vq")
def test_a_run_resumed_at_every_step_is_the_uninterrupted_one(name, tmp_path):
    whole = reference(name)
    for step in range(1, STEPS + 1):
        resumed = train(name, steps=step, run_dir=tmp_path, resume=step > 1)
    assert digest(resumed.state) == digest(whole.state)
    assert resumed.history[-1]["loss"] == whole.history[-1]["loss"]


@names("vq", "batch-norm", "two-player")
def test_a_batch_with_a_nan_moves_nothing(name):
    ae, state = fresh(name, CASES[name].ae, ema=True)
    step = jax.jit(make_train_step(ae, MOMENTUM, guard=True, ema_decay=0.9))
    batch = batch_of(name)
    state, metrics = step(state, batch)
    assert metrics["finite"]
    skipped, metrics = step(state, batch | {"x": batch["x"].at[3, 0].set(jnp.nan)})
    assert not metrics["finite"] and int(skipped.step) == int(state.step) + 1
    assert digest(skipped.replace(step=state.step)) == digest(state)
    again, metrics = step(skipped, batch)
    assert metrics["finite"] and digest(again) != digest(skipped)


@names("vq", "two-player")
def test_accumulated_parts_are_the_whole_batch_or_are_refused(name):
    case = CASES[name]
    ae, state = fresh(name)
    if case.untrained:
        with pytest.raises(ValueError, match="accumulate=2: ") as caught:
            fit(ae, examples(case), steps=1, batch_size=4, accumulate=2)
        assert "\n" not in str(caught.value)
        return
    batch = batch_of(name) | {"mask": jnp.asarray([1.0] * 11 + [0.0] * 5)}
    whole, metrics = jax.jit(make_train_step(ae, MOMENTUM))(state, batch)
    parts, again = jax.jit(make_train_step(ae, MOMENTUM, accumulate=4))(state, batch)
    assert_close(parts, whole)
    jax.tree.map(close, again, metrics)


@cache
def cut_run(name):
    """The states of the reference, by the step called by hand on batches that are cut."""
    ae, data = CASES[name].quiet, examples(CASES[name])
    init_key, order_key, _ = jax.random.split(jax.random.key(3), 3)
    step = jax.jit(make_train_step(ae, MOMENTUM, ema_decay=0.9))
    states = [jax.jit(lambda: init_state(ae, MOMENTUM, init_key, ema=True))()]
    for epoch in range(2):
        for rows in np.asarray(epoch_order(order_key, epoch, count=ROWS, batch_size=BATCH)):
            batch = {key: jnp.asarray(column[rows[rows >= 0]]) for key, column in data.items()}
            states.append(step(states[-1], batch)[0])
    return states


FAST = (("vq", 1, False), ("batch-norm", 4, True))
PLACES = [(name, *place) for name in CASES for place in itertools.product((1, 4), (False, True))]


@pytest.mark.parametrize(
    ("name", "devices", "stream"),
    [p if p in FAST else pytest.param(*p, marks=pytest.mark.slow) for p in PLACES],
)
def test_a_padded_batch_is_the_cut_one(name, devices, stream):
    run = train(name, quiet=True, devices=devices, stream=stream)
    assert_close(run.state, cut_run(name)[STEPS])


@names("vq")
@pytest.mark.parametrize("batch_size", [BATCH, pytest.param(6, marks=pytest.mark.slow)])
def test_four_devices_are_one(name, batch_size):
    """Noise included, where a batch divides; of 6 rows, each is padded to 8."""
    if batch_size == BATCH:
        one, four = reference(name), train(name, devices=4)
    else:
        one, four = (train(name, quiet=True, batch_size=6, devices=d) for d in (1, 4))
    assert_close(four.state, one.state)
    assert_rows_close(four.history, one.history)


@names("vq", "batch-norm")
@pytest.mark.parametrize("wrap", ["pmap", pytest.param("shard_map", marks=pytest.mark.slow)])
def test_the_mapped_step_is_the_jitted_one(name, wrap):
    ae, state = fresh(name, ema=True)
    # One device has no real row, and another an odd number of them.
    real = [1, 1, 1, 0] * 4 if CASES[name].even else [1] * 11 + [0] * 5
    batch = batch_of(name) | {"mask": jnp.asarray(real, jnp.float32)}
    one = jax.jit(make_train_step(ae, MOMENTUM, ema_decay=0.9, guard=True))
    step = make_train_step(ae, MOMENTUM, axis_name="data", ema_decay=0.9, guard=True)
    if wrap == "pmap":
        split = jax.tree.map(lambda a: a.reshape(4, 4, *a.shape[1:]), batch)
        mapped = jax.pmap(step, axis_name="data", in_axes=(None, 0), out_axes=None)
    else:
        split, specs = batch, {"in_specs": (P(), P("data")), "out_specs": P()}
        mapped = jax.jit(jax.shard_map(step, mesh=data_mesh(4), **specs))
    got = want = state
    for _ in range(3):
        got, metrics = mapped(got, split)
        want, expected = one(want, batch)
        assert metrics["finite"]
        jax.tree.map(close, metrics, expected)
    assert_close(got, want)


@names("vq")
def test_in_bfloat16_the_untrained_state_keeps_its_dtypes_and_values(name):
    ae, state = fresh(name)
    batch = batch_of(name)
    got, metrics = jax.jit(make_train_step(half(ae), MOMENTUM))(state, batch)
    want, expected = jax.jit(make_train_step(ae, MOMENTUM))(state, batch)
    assert jax.tree.map(jnp.result_type, got) == jax.tree.map(jnp.result_type, want)
    np.testing.assert_allclose(metrics["loss"], expected["loss"], rtol=0.02)
    near = partial(np.testing.assert_allclose, rtol=0.05, atol=0.05)
    jax.tree.map(near, got.model_state, want.model_state)


@names("dictionary")
def test_every_seed_of_a_sweep_is_its_own_run(name):
    case = CASES[name]
    result = sweep(
        lambda: case.ae,
        {"learning_rate": [RATE, 0.5 * RATE]},
        [3, 5],
        examples(case),
        epochs=1,
        batch_size=BATCH,
        optimizer=lambda rate: optax.sgd(rate, momentum=0.9),
        ema_decay=0.9,
        devices=4,
    )
    slower = optax.sgd(0.5 * RATE, momentum=0.9)
    alone = train(name, steps=3, seed=5, optimizer=slower, eval_data=None)
    assert result.runs[3] == {"learning_rate": 0.5 * RATE, "seed": 5}
    assert_close(result.replica(3), alone.state)
    close(result.history[-1]["loss"][3], alone.history[-1]["loss"])


@names("conditional")
def test_a_run_is_loaded_and_exported_with_its_model(name, tmp_path):
    case = CASES[name]
    ae, data = case.ae, examples(case)
    state = train(name, run_dir=tmp_path / "run").state
    given = {column: data[column] for column in ae.given}
    z = ae.encode(state.variables, data["x"], **given)
    recon = ae.decode(state.variables, z, **given)
    assert recon.shape == (ROWS, *ae.target_shape)

    loaded = load_run(tmp_path / "run", ae=ae)
    assert_same(loaded.state.variables, state.variables)
    folder = export(tmp_path / "run", tmp_path / "model", ae=ae)
    exported = load_exported(folder, ae=ae)
    assert_same(exported.variables, state.variables)
    again = exported.ae.encode(exported.variables, data["x"], **given)
    jax.tree.map(np.testing.assert_array_equal, again, z)

    def call(program, value):
        content = bytearray((folder / f"{program}.stablehlo").read_bytes())
        return jax.export.deserialize(content).call(value, *([given] if given else []))

    jax.tree.map(close, call("encode", data["x"]), z)
    close(call("decode", z), recon)
    close(call("reconstruct", data["x"]), recon)


def test_something_dies_and_is_revived_in_these_runs():
    """So that the properties above speak of it, in a padded batch too."""
    codebooks = [state.model_state["codebook"]["codebook"] for state in cut_run("vq")]
    assert any((book["counts"] == 1.0).any() for book in codebooks[2 : STEPS + 1])
    moments = [state.opt_state[0].trace["atoms"] for state in cut_run("dictionary")]
    assert any((moment == 0.0).all(1).any() for moment in moments[1 : STEPS + 1])
    assert not (moments[STEPS] == 0.0).all()
