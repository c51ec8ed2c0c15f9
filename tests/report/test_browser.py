"""Pages in a real Chromium: what a reader sees and can do."""

import base64
import io
import json
import shutil
import time

import jax
import numpy as np
import pytest
from PIL import Image
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from ae_jax.data import load
from ae_jax.report import write_report
from ae_jax.storage.runs import Run, load_run
from experiments.train import main as train

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (shutil.which("chromium") and shutil.which("chromedriver")),
        reason="no browser: apt-get install chromium chromium-driver",
    ),
]

RUNS = {
    "plane": "digits --train.epochs 3",
    "eight": "simple --data.name digits --model.latent-dim 20 --train.epochs 3",
    "conv": "conv --data.name digits --train.epochs 3",
    "tied": "tied --data.name digits --train.epochs 2",
    "lstm": "lstm --data.name digits --train.epochs 20 --train.learning-rate 0.01",
}
TEST = load("digits", "test")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    for name, command in RUNS.items():
        train([*command.split(), "--run-dir", str(folder / name)])
        write_report([folder / name], folder / name / "report.html")
    return folder


def pixels(driver, kind, explorer=0):
    """The canvas of that kind, [H, W] of its red channel."""
    script = "return document.querySelector(arguments[0]).toDataURL()"
    png = driver.execute_script(script, f"#explorer-{explorer} canvas.{kind}")
    with Image.open(io.BytesIO(base64.b64decode(png.partition(",")[2]))) as image:
        return np.asarray(image.convert("RGB"), float)[..., 0]


def decoded(run, code):
    ae, state, _ = load_run(run)
    shape = jax.eval_shape(ae.encode, state.variables, TEST["x"][:1]).shape
    image = ae.decode(state.variables, np.float32(code).reshape(shape))
    return np.asarray(image).clip(0, 1).reshape(8, 8) * 255  # as a picture shows it


def latents(run):
    ae, state, _ = load_run(run)
    return np.asarray(ae.encode(state.variables, TEST["x"])).reshape(len(TEST["x"]), -1)


def set_slider(driver, slider, value):
    script = """
        arguments[0].value = arguments[1];
        arguments[0].dispatchEvent(new Event("input", {bubbles: true}));
        return Number(arguments[0].value);
    """
    return driver.execute_script(script, slider, value)


def choose_row(driver, row):
    field = driver.find_element(By.CSS_SELECTOR, "#explorer-0 input.row")
    field.clear()
    field.send_keys(str(row), Keys.TAB)


def test_every_figure_of_the_rows_is_drawn_and_can_be_logarithmic(visit, runs):
    driver = visit(runs / "plane" / "report.html")
    names = [e.text for e in driver.find_elements(By.CSS_SELECTOR, ".chart h3")]
    assert names == ["loss", "kl", "nll", "images_per_second"]
    rows = [row for row in Run.open(runs / "plane").rows() if row["split"] == "test"]
    shown = """
        return Array.from(document.querySelectorAll(".chart .plot"), (plot) => ({
            type: plot.layout.yaxis.type, unit: plot.layout.xaxis.title.text,
            drawn: plot.querySelectorAll(".scatterlayer path.js-line").length,
            test: plot.data.find((trace) => trace.name === "test"),
        }));
    """
    for name, chart in zip(names, driver.execute_script(shown), strict=True):
        assert (chart["type"], chart["drawn"]) == ("linear", 2)
        assert chart["test"]["y"] == [row[name] for row in rows]
        assert chart["test"]["x"] == [row["step"] for row in rows]
    driver.find_element(By.ID, "log-scale").send_keys(Keys.SPACE)
    driver.find_element(By.ID, "curve-unit").send_keys("epoch")
    chart = driver.execute_script(shown)[0]
    assert (chart["type"], chart["unit"]) == ("log", "epoch")
    assert chart["test"]["x"] == [row["epoch"] for row in rows]
    assert chart["drawn"] == 2


@pytest.mark.parametrize("name", ["plane", "eight"])
def test_pointing_at_a_code_shows_its_example_and_a_click_decodes_it(visit, runs, name):
    driver = visit(runs / name / "report.html")
    plot = driver.find_element(By.CSS_SELECTOR, ".plane")
    driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", plot)
    points = driver.execute_script(
        """
        const { xaxis, yaxis } = arguments[0]._fullLayout;
        return arguments[0].data.filter((trace) => trace.customdata).flatMap((trace) =>
            trace.customdata.map((i, k) => [
                i, xaxis.l2p(trace.x[k]) + xaxis._offset, yaxis.l2p(trace.y[k]) + yaxis._offset]));
        """,
        plot,
    )
    at = {row: np.array([x, y]) for row, x, y in points}
    assert sorted(at) == list(range(len(TEST["x"])))
    others = {row: min(np.abs(at[row] - at[o]).max() for o in at if o != row) for row in at}
    z = latents(runs / name)
    for row in sorted(others, key=others.get)[-5:]:  # those that stand alone
        size = plot.size["width"], plot.size["height"]
        x, y = at[row] - np.array(size) / 2
        ActionChains(driver).move_to_element_with_offset(plot, int(x), int(y)).pause(0.2).perform()
        caption = driver.find_element(By.CSS_SELECTOR, ".example-caption").text
        assert caption == f"Test example {row}, label {TEST['label'][row]}"
        np.testing.assert_array_equal(pixels(driver, "example"), TEST["x"][row, ..., 0])
        ActionChains(driver).click().pause(0.2).perform()
        assert f"example {row}" in driver.find_element(By.CSS_SELECTOR, ".decoded-caption").text
        difference = np.abs(pixels(driver, "decoded") - decoded(runs / name, z[row]))
        assert difference.max() <= 1


@pytest.mark.parametrize("name", RUNS)
def test_sliders_decode_as_jax_does(visit, runs, name):
    driver = visit(runs / name / "report.html")
    z = latents(runs / name)
    latent = z.mean(axis=0)
    assert np.abs(pixels(driver, "decoded") - decoded(runs / name, latent)).max() <= 1
    sliders = driver.find_elements(By.CSS_SELECTOR, "#explorer-0 input[type=range]")
    assert len(sliders) == min(16, z.shape[1])
    rng = np.random.default_rng(0)
    moved = 0.0
    for _ in range(4):
        before = pixels(driver, "decoded")
        for slider in sliders:
            number = int(slider.get_attribute("id").rpartition("-")[2])
            low, high = (float(slider.get_attribute(end)) for end in ("min", "max"))
            latent[number] = set_slider(driver, slider, rng.uniform(low, high))
        now = pixels(driver, "decoded")
        assert np.abs(now - decoded(runs / name, latent)).max() <= 1
        moved = max(moved, np.abs(now - before).max())
    assert moved > 3


def test_sliders_have_names_and_move_with_the_keyboard(visit, runs):
    driver = visit(runs / "plane" / "report.html")
    choose_row(driver, 7)
    np.testing.assert_array_equal(pixels(driver, "example"), TEST["x"][7, ..., 0])
    slider = driver.find_element(By.CSS_SELECTOR, "#explorer-0 input[type=range]")
    assert slider.accessible_name == "latent 1"
    before, drawn = float(slider.get_property("value")), pixels(driver, "decoded")
    slider.send_keys(Keys.ARROW_RIGHT * 20)
    assert float(slider.get_property("value")) > before
    assert (pixels(driver, "decoded") != drawn).any()
    driver.find_element(By.CSS_SELECTOR, ".reset").send_keys(Keys.ENTER)
    want = decoded(runs / "plane", latents(runs / "plane").mean(axis=0))
    assert np.abs(pixels(driver, "decoded") - want).max() <= 1


def test_two_runs_side_by_side(visit, runs, tmp_path):
    notes = write_report([runs / "plane", runs / "eight"], tmp_path / "both.html")
    assert notes == []
    driver = visit(tmp_path / "both.html")
    assert driver.title == "plane and eight"
    assert len(driver.find_elements(By.CSS_SELECTOR, ".plane .main-svg")) >= 2
    loss = "return document.querySelector('.chart .plot').data.map((trace) => trace.name)"
    assert driver.execute_script(loss) == [
        f"{run}, {split}" for run in ("plane", "eight") for split in ("train", "test")
    ]
    differs = [row.text for row in driver.find_elements(By.CSS_SELECTOR, "#settings .differs")]
    assert any(row.startswith("model.latent_dim 2 20") for row in differs)
    assert not any(row.startswith("seed") for row in differs)
    for number in (0, 1):
        assert pixels(driver, "decoded", number).std() > 0


@pytest.mark.parametrize("name", ["plane", "eight", "both"])
def test_a_phone_does_not_scroll_sideways(visit, runs, tmp_path, name, too_wide):
    file = runs / name / "report.html"
    if name == "both":
        file = tmp_path / "both.html"
        write_report([runs / "plane", runs / "eight"], file)
    driver = visit(file, width=360)
    assert too_wide(driver) == []


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_all_text_can_be_read(visit, runs, tmp_path, dark, contrasts):
    write_report([runs / "plane", runs / "eight"], tmp_path / "both.html")
    driver = visit(tmp_path / "both.html", dark=dark)
    found = contrasts(driver)
    assert len(found) > 100
    assert [each for each in found if each[0] < 4.5] == []  # WCAG 2.1, level AA
    back = driver.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert (np.mean([int(v) for v in back[4:-1].split(",")]) < 60) == dark


def test_plots_follow_when_the_reader_turns_to_the_dark(visit, runs):
    driver = visit(runs / "plane" / "report.html")
    fills = """
        return Array.from(document.querySelectorAll(".plot .xtick text"), (e) =>
            getComputedStyle(e).fill);
    """
    assert set(driver.execute_script(fills)) == {"rgb(29, 33, 38)"}
    dark = {"name": "prefers-color-scheme", "value": "dark"}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [dark]})
    time.sleep(1)
    assert set(driver.execute_script(fills)) == {"rgb(231, 234, 238)"}


def test_pictures_have_alternative_texts(visit, runs):
    driver = visit(runs / "plane" / "report.html")
    images = driver.find_elements(By.CSS_SELECTOR, "img")
    assert len(images) == len(list((runs / "plane" / "figures").glob("*.png")))
    for image in images:
        assert image.get_attribute("alt").strip()
        assert int(image.get_property("naturalWidth")) > 0


def test_a_hostile_run_is_only_text(visit, runs, tmp_path):
    run = tmp_path / "<img src=x onerror=document.title=1>"
    shutil.copytree(runs / "plane", run)
    nasty = "</script><script>document.title='pwned'</script><b onmouseover=alert(1)>x</b>"
    config = json.loads((run / "config.json").read_text())
    config[nasty] = {nasty: nasty}
    (run / "config.json").write_text(json.dumps(config))
    (run / "environment.json").write_text(json.dumps({nasty: [nasty]}))
    row = {"step": 9, "epoch": 1.0, "split": nasty, nasty: 1.0, "loss": 2.0}
    (run / "metrics.jsonl").write_text(
        json.dumps(row) + "\n" + json.dumps({**row, "step": 10}) + "\n"
    )
    tasks = {nasty: {"metrics": {nasty: 1, "t": {nasty: nasty}}, "conventions": {nasty: nasty}}}
    (run / "evaluation.json").write_text(json.dumps({"step": nasty, "tasks": tasks}))
    write_report([run], tmp_path / "hostile.html")
    driver = visit(tmp_path / "hostile.html")
    assert driver.title == run.name
    assert driver.execute_script("return document.querySelectorAll('b, img[onerror]').length") == 0
    assert driver.execute_script("return document.querySelectorAll('script').length") == 5
    legend = driver.find_element(By.CSS_SELECTOR, ".legendtext")
    assert "<script>" in legend.get_attribute("textContent")
    assert nasty in driver.find_element(By.ID, "settings").text
