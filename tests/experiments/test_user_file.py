"""A model of one's own, in a file outside of the package, gets everything the shipped ones get."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np
import pytest

from ae_jax import export, fit, load_exported, load_run, sweep
from ae_jax.models import Model, with_models
from ae_jax.sklearn import AutoencoderOutlierDetector, AutoencoderTransformer
from ae_jax.spec import Spec
from experiments import evaluate, report, train
from experiments import export as export_command
from experiments import sweep as sweep_command
from experiments.user_file import load_user_file, split_models

pytestmark = pytest.mark.usefixtures("compiled_once")
EXAMPLE = Path(__file__).parents[2] / "experiments" / "examples" / "my_model.py"


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """The example, copied to another directory."""
    return str(shutil.copy(EXAMPLE, tmp_path_factory.mktemp("elsewhere") / "mine.py"))


@pytest.fixture(scope="module")
def run(file, tmp_path_factory):
    """A run of it by the command line, with an option of its own, resumed once."""
    path = str(tmp_path_factory.mktemp("runs") / "mine")
    options = ["--train.epochs", "1", "--model.units", "8", "--run-dir", path]
    train.main([file, *options])
    train.main([file, "--resume", path, "--train.epochs", "2"])
    return path


def test_the_command_line_trains_and_resumes_it(run):
    config = json.loads(Path(run, "config.json").read_text())
    assert config["model"] == {"kind": "sparse_rates", "units": 8, "cost": 0.3}
    rows = [json.loads(line) for line in Path(run, "metrics.jsonl").read_text().splitlines()]
    assert {row["epoch"] for row in rows} == {1.0, 2.0}
    assert {"loss", "bce", "rate", "idle"} <= rows[-1].keys()


def test_a_run_names_only_what_the_process_has(file, run):
    with pytest.raises(ValueError, match=r"model='sparse_rates'.*pass models=Model \| YourSpec"):
        load_run(run)
    with pytest.raises(ValueError, match="put its configuration file first"):
        train.main(["--resume", run])
    ae, state, _ = load_run(run, models=load_user_file(file).models)
    assert ae.encode(state.variables, np.zeros((3, 8, 8, 1), np.uint8)).shape == (3, 8)
    same = load_run(run, ae=ae)
    assert same.state.step == state.step


def test_evaluate_report_and_export_take_the_file(file, run, tmp_path, capsys):
    evaluate.main([file, run, "--metrics", "reconstruction", "features"])
    measured = json.loads(Path(run, "evaluation.json").read_text())
    assert {"reconstruction", "features"} <= measured["tasks"].keys()
    report.main([file, run, "--output", str(tmp_path / "page.html")])
    page = (tmp_path / "page.html").read_text()
    assert "sparse_rates" in page and "no latent explorer" not in capsys.readouterr().err
    export_command.main([file, run, str(tmp_path / "shared")])
    models = load_user_file(file).models
    ae, variables, _ = load_exported(tmp_path / "shared", models=models)
    x = np.float32(np.random.default_rng(0).uniform(size=(3, 8, 8, 1)))
    encode = jax.export.deserialize(bytearray((tmp_path / "shared/encode.stablehlo").read_bytes()))
    np.testing.assert_allclose(encode.call(x), ae.encode(variables, x), rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_sweep_takes_the_file(file, tmp_path):
    out = tmp_path / "sweep"
    grid = ["--seeds", "0", "1", "--grid", "model.cost=0.1,0.3", "--grid", "train.learning_rate=.1"]
    sweep_command.main([file, *grid, "--train.epochs", "1", "--run-dir", str(out)])
    table = json.loads((out / "sweep.json").read_text())["table"]
    assert [row["model.cost"] for row in table] == [0.1, 0.3]
    models = load_user_file(file).models
    runs = list(out.glob("*seed=*"))
    assert len(runs) == 4 and all(load_run(path, models=models).state.step for path in runs)


def test_the_library_takes_the_specification(file, tmp_path):
    spec = load_user_file(file).config.model
    x = np.random.default_rng(0).uniform(size=(40, 6)).astype(np.float32)
    result = sweep(lambda: spec.build((6,)), {}, [0, 1], x, epochs=1, batch_size=20)
    state, _ = fit(spec.build((6,)), x, epochs=1, batch_size=20, seed=1)
    for a, b in zip(
        jax.tree.leaves(result.replica(1).params), jax.tree.leaves(state.params), strict=True
    ):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    codes = AutoencoderTransformer(spec, epochs=1).fit(x).transform(x)
    assert codes.shape == (40, 32)
    assert set(AutoencoderOutlierDetector(spec, epochs=1).fit(x).predict(x)) <= {-1, 1}


def test_a_hand_made_module_is_given_back_as_it_is(file, tmp_path):
    from dataclasses import replace

    ae = replace(load_user_file(file).config.model.build((6,)), spec=None)
    x = np.random.default_rng(0).uniform(size=(40, 6)).astype(np.float32)
    state, _ = fit(ae, x, epochs=1, batch_size=20, run_dir=tmp_path / "run")
    with pytest.raises(ValueError, match="pass it as ae="):
        load_run(tmp_path / "run")
    loaded = load_run(tmp_path / "run", ae=ae)
    np.testing.assert_array_equal(
        ae.encode(loaded.state.variables, x), ae.encode(state.variables, x)
    )
    export(tmp_path / "run", tmp_path / "shared", ae=ae)
    shared = load_exported(tmp_path / "shared", ae=ae)
    np.testing.assert_array_equal(ae.encode(shared.variables, x), ae.encode(state.variables, x))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1", "has no CONFIG: define CONFIG = "),
        ("CONFIG = 3", "has no CONFIG: define CONFIG = "),
        ("import nothing_of_this_name", "fails: ModuleNotFoundError: No module named"),
        ("1 / 0", "fails: ZeroDivisionError: division by zero"),
        ("def f(:", "fails: SyntaxError"),
    ],
)
def test_a_file_that_cannot_be_used_is_one_line(tmp_path, text, message):
    path = tmp_path / "bad.py"
    path.write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        train.main([str(path)])
    assert "\n" not in str(caught.value)


def test_a_file_that_does_not_exist_is_one_line():
    with pytest.raises(ValueError, match=r"nowhere\.py does not exist: give a configuration file"):
        train.main(["nowhere.py"])
    assert split_models(["runs/a", "--step", "3"]) == (Model, ["runs/a", "--step", "3"])


@dataclass(frozen=True, kw_only=True)
class Taken(Spec):
    kind = "vanilla"

    def build(self, event_shape): ...


@dataclass(frozen=True, kw_only=True)
class Nameless(Spec):
    def build(self, event_shape): ...


@dataclass(frozen=True, kw_only=True)
class Unbuilt(Spec):
    kind = "unbuilt"


@pytest.mark.parametrize(
    ("spec", "error", "message"),
    [
        (Taken, ValueError, "Taken.kind='vanilla': is taken: choose another name"),
        (Nameless, ValueError, "Nameless.kind='': give it a name"),
        (Unbuilt, ValueError, r"needs a method build\(event_shape\)"),
        (dict, TypeError, "must be a class, a subclass of ae_jax.spec.Spec"),
    ],
)
def test_specifications_that_cannot_be_registered(spec, error, message):
    with pytest.raises(error, match=message):
        with_models(spec)
