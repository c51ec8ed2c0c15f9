"""Pages of run directories that were made by hand, whole and damaged; no training, no browser."""

import base64
import json
import os
import sys
import zlib

import jax
import numpy as np
import optax
import pytest
from PIL import Image, PngImagePlugin

from ae_jax.models import Ladder, Variational
from ae_jax.networks import MLP
from ae_jax.report import write_report
from ae_jax.report.curves import CHARTS, POINTS, curves
from ae_jax.report.explorer import explore
from ae_jax.report.tables import number
from ae_jax.spec import to_dict
from ae_jax.storage.runs import Run
from experiments.cli import one_line_errors
from experiments.report import main


@pytest.fixture(scope="module")
def model(numpy_state):
    ae = Variational(network=MLP(widths=(9,)), latent_dim=3).build((8, 8, 1))
    return ae, numpy_state(ae, optax.adam(1e-3))


@pytest.fixture
def make(tmp_path, model):
    def make(name="run", *, saved=True, **config):
        ae, state = model
        parts = {"model": to_dict(ae.spec), "event_shape": [8, 8, 1], "data": {"name": "digits"}}
        run = Run.create(tmp_path / name, parts | config)
        for step, loss in ((1, 3.0), (2, float("nan")), (3, 2.0)):
            for split in ("train", "test"):
                run.log({"step": step, "epoch": step / 2, "split": split, "loss": loss, "kl": 0.5})
        if saved:
            run.checkpoints().save(state)
        return run.path

    return make


def draw(path, size=(8, 4), **texts):
    info = PngImagePlugin.PngInfo()
    for name, text in texts.items():
        info.add_text(name, text)
    Image.new("L", size).save(path, pnginfo=info)


def fails(capsys, *argv):
    """The one line of a command that must fail."""
    with pytest.raises(SystemExit) as stop, one_line_errors():
        main(list(map(str, argv)))
    error = capsys.readouterr().err
    assert stop.value.code == 2 and error.count("\n") == 1
    return error


def test_one_file_is_written_whole_and_nothing_else(make, capsys):
    run = make()
    draw(run / "figures" / "loss.png", Description="a <b>bold</b> loss")
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    main([str(run)])
    after = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    page = run / "report.html"
    changed = {path for path in after if after[path] != before.get(path)}
    assert changed == {page}
    assert capsys.readouterr().err == ""
    text = page.read_text()
    assert 'alt="a <b&gt;bold</b&gt; loss"' in text
    assert "no better than predicting the mean of the training data: squared error" in text
    assert ' src="http' not in text and "<link" not in text
    assert f"{run} is not measured" not in text and "run is not measured: python -m" in text


def test_a_link_where_the_page_goes_is_replaced_and_not_followed(make, tmp_path):
    run, elsewhere = make(), tmp_path / "elsewhere"
    elsewhere.write_text("mine")
    os.symlink(elsewhere, tmp_path / "page.html")
    write_report([run], tmp_path / "page.html")
    assert elsewhere.read_text() == "mine" and not (tmp_path / "page.html").is_symlink()


def test_runs_beside_each_other_say_what_differs(make, tmp_path):
    runs = [make("a", seed=1, train={"epochs": 2}), make("b", seed=1, train={"epochs": 3})]
    assert write_report(runs, tmp_path / "both.html") == []
    settings = (tmp_path / "both.html").read_text().partition('id="settings"')[2]
    marked = settings.partition("</tr><tr><th")[0].partition("<tbody>")[2]
    assert 'class="differs"' in marked and "train.epochs" in marked
    assert settings.partition("</section>")[0].count('class="differs"') == 1


def test_wrong_calls_are_one_line(make, tmp_path, capsys, monkeypatch):
    run = make()
    assert "is not a run directory" in fails(capsys, tmp_path)
    assert "--output FILE" in fails(capsys, run, run)
    assert "give each run once" in fails(capsys, run, run, "--output", tmp_path / "x.html")
    assert "cannot write" in fails(capsys, run, "--output", run / "metrics.jsonl" / "x.html")
    assert "cannot write" in fails(capsys, run, "--output", tmp_path)
    (run / "metrics.jsonl").write_text("{\n")
    assert "line 1 is not a row" in fails(capsys, run)
    monkeypatch.setitem(sys.modules, "plotly.offline", None)
    assert "pip install 'ae_jax[report]'" in fails(capsys, run)
    assert list(tmp_path.glob("*.html")) == []


def test_what_an_explorer_lacks_is_one_line_and_the_rest_is_there(make, tmp_path, capsys):
    images = tmp_path / "large.npz"
    np.savez(images, x=np.zeros((10, 9, 9), np.uint8))
    named = make("named")
    for name, argv, line in [
        ("empty", [make("empty", saved=False)], "no checkpoint in"),
        ("nameless", [make("nameless", data=None)], "has no name of its data set"),
        ("odd", [make("odd", data={"name": 3})], "does not name a data set"),
        ("gone", [make("gone", data={"name": "mnist", "dir": "nowhere"})], "is not in nowhere"),
        ("named", [named, "--data-name", images], r"shape (9, 9, 1), but"),
        ("named", [named, "--step", "9"], "no checkpoint of step 9"),
    ]:
        main(list(map(str, argv)))
        error = capsys.readouterr().err
        assert error.startswith(f"{name}: no latent explorer: ") and error.count("\n") == 1
        assert line in error
        text = (argv[0] / "report.html").read_text()
        assert "No latent explorer: " in text and 'class="plot"' in text


def test_data_that_moved_is_named_on_the_command_line(make, capsys):
    main([str(make(data={"name": "mnist", "dir": "nowhere"})), "--data-name", "digits"])
    assert capsys.readouterr().err == ""


def test_damaged_files_beside_the_rows_are_skipped_with_a_line(make, tmp_path):
    run = make()
    (run / "figures" / "bad.png").write_bytes(b"<svg onload=alert(1)>")
    os.mkfifo(run / "figures" / "pipe.png")
    draw(run / "figures" / "good.png")
    (run / "environment.json").write_text("{")
    tasks = {
        "a": 3,
        "b": {"metrics": {"x": 1.5, "y": "text", "z": {"p": {"q": 2}, "r": {"q": [3, "s"]}}}},
    }
    (run / "evaluation.json").write_text(json.dumps({"step": 1, "tasks": tasks}))
    notes = write_report([run], tmp_path / "page.html")
    assert [note.split(": ")[1] for note in notes] == [
        "bad.png is skipped",
        "pipe.png is skipped",
        "no environment",
    ]
    text = (tmp_path / "page.html").read_text()
    assert "a is skipped: it is not a table" in text
    assert "Skipped, not numbers: y of run, z r" in text
    assert text.count('<img src="data:image/png;base64,') == 1
    (run / "evaluation.json").write_text("[1]")
    notes = write_report([run], tmp_path / "page.html")
    assert any("is not a file of experiments.evaluate: run that again" in note for note in notes)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (3, "3"),
        (0.123456789, "0.12346"),
        (10**400, None),
        (float("inf"), "not finite"),
        (None, "not finite"),
        (True, None),
        ("3", None),
        ([1, 2.5], "1, 2.5"),
        (list(range(20)), "0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, ... (20)"),
        ([1, [2]], None),
        ({"a": 1}, None),
    ],
)
def test_numbers(value, text):
    assert number(value) == text


def test_curves_keep_gaps_and_skip_what_is_not_a_number():
    rows = [
        {
            "step": i,
            "split": "train",
            "loss": float("nan") if i == 1 else i,
            "text": "a",
            "kl": True,
        }
        for i in range(3)
    ]
    (chart,), note = curves({"run": rows})
    assert chart["name"] == "loss" and note == ""
    line = {"step": [0, 1, 2], "epoch": [None] * 3, "value": [0, None, 2]}
    assert chart["lines"][0] == {"run": 0, "split": "train"} | line


def test_long_and_many_curves_are_thinned():
    rows = [{"step": i, "loss": i} for i in range(3 * POINTS + 1)]
    ((line,),) = (chart["lines"] for chart in curves({"run": rows})[0])
    assert len(line["step"]) <= POINTS + 2 and line["step"][-1] == 3 * POINTS
    many = {"step": 1, **{f"term {i}": 1.0 for i in range(CHARTS + 3)}}
    charts, note = curves({"run": [many]})
    assert len(charts) == CHARTS and note == "3 more metrics are not drawn."


def unpack(packed):
    return np.frombuffer(zlib.decompress(base64.b64decode(packed["data"])), packed["dtype"])


def test_latents_lie_on_their_principal_components(model):
    ae, state = model
    x = np.random.default_rng(0).integers(0, 256, (50, 8, 8, 1), np.uint8)
    found = explore(ae, state.variables, {"x": x, "label": np.arange(50) % 3})
    z = np.asarray(ae.encode(state.variables, x))
    np.testing.assert_allclose(unpack(found["latents"]).reshape(50, 3), z, atol=1e-5)
    np.testing.assert_array_equal(unpack(found["examples"]), x.ravel())
    plane = (z - found["plane"]["mean"]) @ np.transpose(found["plane"]["axes"])
    values = np.linalg.eigvalsh(np.cov(z.T))[::-1]
    np.testing.assert_allclose(plane.var(axis=0, ddof=1), values[:2], rtol=1e-4)
    assert f"{values[:2].sum() / values.sum():.0%}" in found["plane"]["about"]
    assert found["labels"]["names"] == ["0", "1", "2"]
    assert [s["latent"] for s in found["sliders"]] == [0, 1, 2]


def test_of_many_latents_those_of_largest_kl_have_sliders(numpy_state):
    ae = Variational(network=MLP(widths=()), latent_dim=20).build((4, 4))
    variables = numpy_state(ae, optax.identity()).variables
    x = np.random.default_rng(0).uniform(size=(30, 4, 4)).astype(np.float32)
    outputs = ae.apply(variables, x)
    mean, logvar = (np.float64(outputs[name]) for name in ("mean", "logvar"))
    kl = ((np.exp(logvar) + mean**2 - 1 - logvar) / 2).mean(axis=0)
    found = explore(ae, variables, {"x": x})
    assert [s["latent"] for s in found["sliders"]] == np.argsort(-kl)[:16].tolist()
    assert found["order"] == "KL divergence" and found["labels"] is None


def test_a_hierarchy_of_latents_is_explored_as_flat_latents(numpy_state):
    ae = Ladder(widths=(6, 5), latent_dims=(3, 2), layers=1).build((4, 4))
    variables = numpy_state(ae, optax.identity()).variables
    x = np.random.default_rng(0).uniform(size=(30, 4, 4)).astype(np.float32)
    found = explore(ae, variables, {"x": x})
    z = np.concatenate(ae.encode(variables, x), axis=1)
    np.testing.assert_allclose(unpack(found["latents"]).reshape(30, 5), z, atol=1e-5)
    assert found["size"] == 5 and found["decoder"] is not None


def test_large_examples_mean_fewer_points(model, monkeypatch):
    ae, state = model
    monkeypatch.setattr("ae_jax.report.explorer.NUMBERS", 64 * 10)
    x = np.zeros((50, 8, 8, 1), np.uint8)
    found = explore(ae, state.variables, {"x": x, "label": np.arange(50) / 3})
    assert unpack(found["rows"]).tolist() == [0, 5, 10, 16, 21, 27, 32, 38, 43, 49]
    assert "values" in found["labels"]


def test_latents_that_are_not_finite_are_refused(model):
    ae, state = model
    broken = jax.tree.map(lambda a: a * np.nan, state.variables)
    with pytest.raises(ValueError, match="the training diverged"):
        explore(ae, broken, {"x": np.zeros((4, 8, 8, 1), np.uint8)})
