"""What a resumed run must agree on, its optimizer and program included; and seeds."""

import dataclasses
import json
from functools import cache, partial

import jax
import numpy as np
import optax
import pytest

from ae_jax.core import Term, whole_optimizer
from ae_jax.losses import huber, mse
from ae_jax.models import Vanilla
from ae_jax.training import fit, make_plan, sweep
from ae_jax.training.description import create_run, describe, open_run
from tests.core.models import CASES, Transcoder, examples, half

pytestmark = pytest.mark.usefixtures("compiled_once")
X = np.float32(np.random.default_rng(0).uniform(size=(24, 6)))
SPEC = Vanilla(latent_dim=2).build((6,))
TARGETS = CASES["transcoder"]
OWN = TARGETS.ae  # which has no specification


def run(ae, data, run_dir, **options):
    settings = {"steps": 2, "batch_size": 6, "optimizer": optax.adam(1e-3)}
    return fit(ae, data, run_dir=run_dir, **settings | options)


def refused(call, message):
    with pytest.raises(ValueError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
    assert "allow_changes=True" in str(caught.value)


@cache
def plan_of(name):
    ae, data = (SPEC, X) if name == "spec" else (CASES[name].ae, examples(CASES[name]))
    return make_plan(ae, data, steps=2, batch_size=6)


def compare(run_dir, name, ae=None, tx=None):
    """Open the run of a model, as one that resumes it with another `ae` or optimizer does."""
    plan = plan_of(name)
    ae, tx = ae or plan.ae, tx or plan.tx
    if not (run_dir / "config.json").exists():
        create_run(run_dir, describe(plan))
    state = plan.state.replace(opt_state=whole_optimizer(ae, tx).init(plan.state.params))
    other = dataclasses.replace(plan, ae=ae, tx=tx, state=state)
    return open_run(run_dir, describe(other), {}, changes=False)


@pytest.mark.parametrize(
    "optimizer",
    [
        optax.adam(2e-3),
        pytest.param(optax.adam(1e-3, b1=0.8), marks=pytest.mark.slow),
        optax.adam(1e-3, eps=1e-7),
        optax.adamw(1e-3, weight_decay=0.1),
        optax.adam(optax.cosine_decay_schedule(1e-3, 100)),
    ],
    ids=["rate", "b1", "eps", "decay", "schedule"],
)
def test_another_optimizer_is_refused(tmp_path, optimizer):
    """Also where its state has the same shapes, and where only a constant differs."""
    compare(tmp_path, "spec")
    compare(tmp_path, "spec", tx=optax.adam(1e-3))
    call = partial(compare, tmp_path, "spec", tx=optimizer)
    refused(call, "fit.optimizer is jax .* in the run and jax .* now")


def test_another_optimizer_is_taken_where_changes_are_allowed(tmp_path):
    run(SPEC, X, tmp_path, steps=1)
    changed = partial(run, SPEC, X, tmp_path, optimizer=optax.adam(2e-3), resume=True)
    refused(changed, "fit.optimizer")
    state, _ = changed(allow_changes=True)
    assert int(state.step) == 2
    changed(steps=3)  # and is the run's own from then on
    refused(partial(run, SPEC, X, tmp_path, resume=True), "fit.optimizer")


def test_the_optimizers_of_a_model_and_of_a_player_are_part_of_it(tmp_path):
    ae = CASES["two-player"].ae
    players = {"critic": ae.players["critic"]._replace(optimizer=None)}
    for change in ({"players": players}, {"optimizer": lambda tx: optax.chain(tx, optax.scale(2))}):
        call = partial(compare, tmp_path, "two-player", dataclasses.replace(ae, **change))
        refused(call, "fit.(optimizer|program)")


def test_every_row_of_both_sets_is_compared(tmp_path, caplog):
    train = np.random.default_rng(0).uniform(size=(2000, 6)).astype(np.float32)
    changed, test = train.copy(), train[:50].copy()
    changed[3], test[7] = 0, 0

    def opened(train, test, changes=False):
        sets = {"train": {"x": train}, "eval_data": None if test is None else {"x": test}}
        described = describe(dataclasses.replace(plan_of("spec"), **sets))
        if not (tmp_path / "config.json").exists():
            create_run(tmp_path, described)
        run, config = open_run(tmp_path, described, {}, changes=changes)
        run.write_config(config)

    opened(train, train[:50])
    for data, eval_data, message in (
        (changed, train[:50], "train 'x' has other values"),
        (train, test, "test 'x' has other values"),
        (changed, train[:49], "train 'x' has other values; test has 49 rows instead of 50"),
    ):
        message = f"{tmp_path}: the data is not the data of the training: {message}; to use it"
        refused(partial(opened, data, eval_data), message)
    opened(train, None)  # the test set stays known
    opened(changed, test, changes=True)
    assert "train 'x' has other values; test 'x' has other values" in caplog.text
    opened(changed, test)  # the data of the run from then on


def forget(state, batch, key, axis_name):
    return state.replace(params=jax.tree.map(lambda a: 0.9 * a, state.params))


class Linear(Transcoder):
    def encode(self, x):
        return self.encoder(x)


FACTOR = np.linspace(0.5, 1.5, 8, dtype=np.float32).reshape(4, 2)
WEIGHTED = {"mse": Term(lambda o, b: mse(FACTOR * o["recon"], FACTOR * b["y"]))}


@pytest.mark.parametrize(
    "change",
    [
        {"objective": {"mse": Term(lambda o, b: huber(o["recon"], b["y"]))}},
        {"objective": {"mse": OWN.objective["mse"]._replace(weight=0.5)}},
        {"objective": WEIGHTED},
        {"module": Linear()},
        {"after_update": forget},
        {"dtype": half(OWN).dtype},
    ],
    ids=["loss", "weight", "constant", "module", "after_update", "dtype"],
)  # fmt: skip
def test_without_a_specification_the_program_is_compared(tmp_path, change):
    other = partial(compare, tmp_path, "transcoder", dataclasses.replace(OWN, **change))
    refused(other, "dtype is|fit.program is jax .* in the run and jax .* now")


def test_another_program_is_taken_where_changes_are_allowed(tmp_path):
    data = examples(TARGETS)
    run(OWN, data, tmp_path, steps=1)
    other = partial(run, dataclasses.replace(OWN, objective=WEIGHTED), data, tmp_path, resume=True)
    refused(other, "fit.program")
    assert int(other(allow_changes=True).state.step) == 2


def test_constants_that_differ_are_other_programs(tmp_path):
    shifted = FACTOR + 0.5
    objective = {"mse": Term(lambda o, b: mse(shifted * o["recon"], shifted * b["y"]))}
    programs = [
        describe(dataclasses.replace(plan_of("transcoder"), ae=ae))["fit"]["program"]
        for ae in (dataclasses.replace(OWN, objective=o) for o in (WEIGHTED, objective, WEIGHTED))
    ]
    assert programs[0] == programs[2] != programs[1]


@pytest.mark.parametrize("name", ["transcoder", pytest.param("vq", marks=pytest.mark.slow)])
def test_another_number_of_devices_is_the_same_program(tmp_path, name):
    case = CASES[name]
    data = examples(case)
    run(case.ae, data, tmp_path, steps=1)
    state, _ = run(case.ae, data, tmp_path, devices=4, resume=True)
    assert int(state.step) == 2


def test_a_term_may_read_the_mask_that_the_data_has(tmp_path):
    data = examples(TARGETS) | {"mask": np.ones(22, np.float32)}
    objective = {"mse": Term(lambda o, b: b["mask"] * mse(o["recon"], b["y"]))}
    run(dataclasses.replace(OWN, objective=objective), data, tmp_path)


def test_what_another_version_of_jax_wrote_is_not_compared(tmp_path, caplog):
    run(OWN, examples(TARGETS), tmp_path, steps=1)
    file = tmp_path / "config.json"
    config = json.loads(file.read_text())
    for name in ("optimizer", "program"):
        config["fit"][name] = "jax 0.0.1 0123456789abcdef"
    file.write_text(json.dumps(config))
    state, _ = run(OWN, examples(TARGETS), tmp_path, resume=True)
    assert int(state.step) == 2
    said = [record.getMessage() for record in caplog.records]
    for name in ("optimizer", "program"):
        assert any(f"the {name} cannot be compared" in line for line in said)


@pytest.mark.parametrize("seed", [-1, 2**32, 2**32 + 1, 1.0, "1", None], ids=str)
def test_seeds_that_jax_would_change_are_refused(seed):
    message = r"seed=.*: must be an integer in \[0, 2\*\*32\)"
    with pytest.raises(ValueError, match=message):
        fit(SPEC, X, steps=1, batch_size=6, seed=seed)
    with pytest.raises(ValueError, match=message):
        sweep(lambda: SPEC, {}, [3, seed], X, epochs=1, batch_size=6)


def test_the_largest_seeds_are_runs_of_their_own():
    losses = [
        fit(SPEC, X, steps=1, batch_size=6, seed=seed).history[0]["loss"]
        for seed in (0, 2**32 - 1, np.uint32(2**32 - 2))
    ]
    assert len(set(losses)) == 3
    result = sweep(lambda: SPEC, {}, [0, 2**32 - 1], X, epochs=1, batch_size=24)
    assert len(set(np.asarray(result.history[0]["loss"]).tolist())) == 2
