"""Run directories and checkpoints: what they hold, and what they refuse."""

import json
import os
import shutil
from dataclasses import replace

import jax
import numpy as np
import optax
import pytest

from ae_jax import load_run
from ae_jax.models import Vanilla
from ae_jax.storage.checkpoint import Checkpoints
from ae_jax.storage.runs import Run
from ae_jax.training import fit, init_state

X = np.uint8(np.random.default_rng(0).integers(0, 256, size=(20, 6)))
SPEC = Vanilla(latent_dim=3)
TX = optax.adam(1e-3)


def state_of(spec, step=0):
    state = init_state(spec.build((6,)), TX, jax.random.key(0))
    return state.replace(step=state.step + step)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    path = tmp_path_factory.mktemp("trained") / "run"
    fit(SPEC.build((6,)), X, epochs=2, batch_size=10, run_dir=path)
    return path


@pytest.fixture
def run_dir(trained, tmp_path):
    """A copy of a run, to change."""
    return shutil.copytree(trained, tmp_path / "run")


def edit(run_dir, **changes):
    file = run_dir / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def test_files(run_dir):
    names = {"config.json", "environment.json", "metrics.jsonl", "checkpoints", "figures"}
    assert {p.name for p in run_dir.iterdir()} == names
    environment = json.loads((run_dir / "environment.json").read_text())
    assert environment["packages"]["jax"] == jax.__version__
    assert environment["device_count"] == 4
    assert {"command", "git_commit", "device", "python"} <= environment.keys()
    lines = (run_dir / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [2, 4]


def test_checkpoints_restore_every_bit(tmp_path):
    store = Checkpoints(tmp_path)
    state = state_of(SPEC, step=7)
    store.save(state)
    assert store.steps() == [7]
    restored = Checkpoints(tmp_path).restore(jax.eval_shape(lambda: state))
    assert jax.tree.structure(restored) == jax.tree.structure(state)
    for a, b in zip(jax.tree.leaves(restored), jax.tree.leaves(state), strict=True):
        if jax.dtypes.issubdtype(a.dtype, jax.dtypes.prng_key):
            a, b = jax.random.key_data(a), jax.random.key_data(b)
        np.testing.assert_array_equal(a, b)


def test_only_the_newest_are_kept(tmp_path):
    store = Checkpoints(tmp_path, keep=2)
    for step in (1, 2, 3):
        store.save(state_of(SPEC, step))
    store.save(state_of(SPEC, 3))
    assert store.steps() == [2, 3]
    with pytest.raises(ValueError, match=r"no checkpoint of step 1 .* \[2, 3\]"):
        store.restore(state_of(SPEC), 1)


def test_another_model_is_refused_by_name(tmp_path):
    Checkpoints(tmp_path).save(state_of(SPEC))
    with pytest.raises(ValueError, match=r"code/bias is float32\[3\] in the checkpoint, .*\[4\]"):
        Checkpoints(tmp_path).restore(state_of(Vanilla(latent_dim=4)))
    with pytest.raises(ValueError, match="only the model has .*ema"):
        Checkpoints(tmp_path).restore(state_of(SPEC).replace(ema={"params": state_of(SPEC).params}))


def test_no_checkpoint(tmp_path):
    Run.create(tmp_path / "run", {"model": {"kind": "vanilla"}, "event_shape": [6]})
    with pytest.raises(ValueError, match="no checkpoint in .*run"):
        load_run(tmp_path / "run")


def test_an_existing_directory_is_refused(run_dir):
    with pytest.raises(ValueError, match="exists and is not empty: continue it with resume=True"):
        fit(SPEC.build((6,)), X, epochs=1, batch_size=10, run_dir=run_dir)


def test_an_unwritable_place_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="cannot write run directory .*file"):
        Run.create(tmp_path / "file" / "run", {})
    if os.geteuid() != 0:  # root may write anywhere
        tmp_path.chmod(0o500)
        with pytest.raises(ValueError, match="cannot write run directory"):
            Run.create(tmp_path / "run", {})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 9}, "has format 9, and this version of ae_jax reads 4"),
        ({"model": {"kind": "os.system"}}, "model='os.system': known: "),
        ({"model": {"kind": "vanilla", "latent_dim": -1}}, "latent_dim=-1"),
        ({"model": {"kind": "vanilla", "latent_dim": 4}}, "in the checkpoint"),
        ({"model": None}, "names no model, .* pass it as ae="),
        ({"event_shape": [6.5]}, "event_shape"),
        ({"event_shape": None}, "event_shape"),
        ({"event_shape": [7]}, "in the checkpoint"),
    ],
)
def test_a_wrong_config_is_one_line(run_dir, changes, message):
    edit(run_dir, **changes)
    with pytest.raises(ValueError, match=message) as caught:
        load_run(run_dir)
    assert "\n" not in str(caught.value)


def test_not_a_run(tmp_path, run_dir):
    with pytest.raises(ValueError, match="is not a run directory"):
        load_run(tmp_path / "nothing")
    (run_dir / "config.json").write_text("{")
    with pytest.raises(ValueError, match="is not the configuration of a run"):
        load_run(run_dir)


def test_rewinding_drops_later_rows_and_half_lines(run_dir):
    run = Run.open(run_dir)
    with open(run_dir / "metrics.jsonl", "a") as file:
        file.write('{"step": 6, "lo')
    assert [row["step"] for row in run.rows()] == [2, 4]
    rows = run.rows_until(2)
    assert [row["step"] for row in rows] == [2]
    run.rewrite(rows)
    run.log({"step": 3})
    assert [row["step"] for row in run.rows()] == [2, 3]


def test_a_run_in_bfloat16_is_loaded_as_such(tmp_path):
    ae = replace(SPEC.build((6,)), dtype=jax.numpy.bfloat16)
    state, _ = fit(ae, X, epochs=1, batch_size=10, run_dir=tmp_path / "run")
    loaded = load_run(tmp_path / "run")
    assert loaded.ae.dtype == jax.numpy.bfloat16
    np.testing.assert_array_equal(
        loaded.ae.encode(loaded.state.variables, X), ae.encode(state.variables, X)
    )
    config = tmp_path / "run" / "config.json"
    config.write_text(config.read_text().replace('"bfloat16"', '"float8"'))
    with pytest.raises(ValueError, match="dtype='float8': must be one of float32, bfloat16"):
        load_run(tmp_path / "run")
