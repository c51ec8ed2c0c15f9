"""The dictionary of a page in a real Chromium: what a reader sees and can do."""

import base64
import io
import json
import shutil
import time

import numpy as np
import pytest
from PIL import Image
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.select import Select

from ae_jax.data import load
from ae_jax.evaluation.dictionaries.geometry import directions_of, nearest_directions
from ae_jax.models import Dictionary
from ae_jax.report import write_report
from ae_jax.sparsifiers import TopK
from ae_jax.storage.runs import load_run
from experiments.config import Config, Data, Train
from experiments.data import load_split
from experiments.training import train

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (shutil.which("chromium") and shutil.which("chromedriver")),
        reason="no browser: apt-get install chromium chromium-driver",
    ),
]
SPEC = Dictionary(width=96, sparsifier=TopK(active=5), center="mean", normalize=True)
TEST = load("digits", "test")
NASTY = "</script><b onclick=alert(1)>bold</b>"


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    rng = np.random.default_rng(0)
    np.save(folder / "tokens.npy", rng.normal(size=(200, 12)).astype(np.float32))
    words = [NASTY, *(f"token {i}" for i in range(199))]
    (folder / "tokens.words.json").write_text(json.dumps(words))
    waves = np.sin(np.arange(30) * rng.uniform(0.2, 2, (200, 1)))
    np.save(folder / "waves.npy", waves[..., None].astype(np.float32))
    names = {"images": "digits", "words": str(folder / "tokens.npy")}
    for name, data in (names | {"lines": str(folder / "waves.npy")}).items():
        settings = Train(epochs=5, batch_size=64, learning_rate=0.01)
        config = Config(model=SPEC, data=Data(name=data), train=settings)
        splits = [load_split(config.data, split) for split in ("train", "test")]
        train(config, *splits, run_dir=folder / name)
        assert write_report([folder / name], folder / name / "report.html") == []
    return folder


def cards(driver):
    return driver.find_elements(By.CSS_SELECTOR, "#dictionary-0 .latent")


def numbers(driver):
    """The numbers of the latents that are listed."""
    titles = "return Array.from(document.querySelectorAll('.latent h3'), (e) => e.textContent)"
    return [int(title.split()[-1]) for title in driver.execute_script(titles)]


def find(driver, kind):
    return driver.find_element(By.CSS_SELECTOR, f"#dictionary-0 .{kind}")


def image_of(driver, canvas):
    png = driver.execute_script("return arguments[0].toDataURL()", canvas)
    with Image.open(io.BytesIO(base64.b64decode(png.partition(",")[2]))) as image:
        return np.asarray(image.convert("RGB"), float)[..., 0]


@pytest.fixture(scope="module")
def z(runs):
    ae, state, _ = load_run(runs / "images")
    return np.asarray(ae.features(state.variables, TEST["x"]))


def test_top_examples_are_shown_as_they_are(visit, runs, z):
    driver = visit(runs / "images" / "report.html")
    rate = (z != 0).mean(0)
    for card, latent in list(zip(cards(driver), numbers(driver), strict=True))[:4]:
        order = np.argsort(-z[:, latent], kind="stable")[:8]
        canvases = card.find_elements(By.CSS_SELECTOR, "li canvas")
        for row, canvas in zip(order, canvases, strict=True):
            about = f"Test example {row}, label {TEST['label'][row]}, activation "
            assert canvas.accessible_name.startswith(about)
            value = float(canvas.accessible_name.removeprefix(about))
            assert value == pytest.approx(z[row, latent], rel=0.005)
            np.testing.assert_array_equal(image_of(driver, canvas), TEST["x"][row, ..., 0])
        shown = float(card.text.partition("active for ")[2].partition("%")[0])
        assert shown == pytest.approx(100 * rate[latent], abs=0.51)


def test_the_list_is_sorted_turned_filtered_and_searched(visit, runs, z):
    driver = visit(runs / "images" / "report.html")
    rate = (z != 0).mean(0)
    live = np.flatnonzero(rate)
    page = numbers(driver)
    assert len(page) == 16 and (np.diff(rate[page]) <= 1e-9).all()
    assert rate[page[0]] == rate.max()
    assert find(driver, "status").text == f"1 to 16 of {len(live)} latents"
    find(driver, "next").click()
    assert not set(numbers(driver)) & set(page)
    assert find(driver, "status").text.startswith("17 to ")
    Select(find(driver, "sort")).select_by_visible_text("number")
    assert numbers(driver) == live[:16].tolist()
    find(driver, "least").send_keys("5")
    find(driver, "most").send_keys("9")
    fits = live[(rate[live] >= 0.05) & (rate[live] <= 0.09)]
    assert numbers(driver) == fits[:16].tolist()
    find(driver, "least").send_keys("0")  # at least 50 %
    assert numbers(driver) == [] and "no latent in this page fits" in find(driver, "status").text
    find(driver, "all").click()
    field = find(driver, "latent-number")
    field.send_keys(str(live[20]), Keys.TAB)
    assert numbers(driver) == [live[20]]
    dead = np.flatnonzero(rate == 0)
    if dead.size:
        field.clear()
        field.send_keys(str(dead[0]), Keys.TAB)
        assert f"Latent {dead[0]} is never active" in find(driver, "latents").text


def test_a_neighbor_is_one_click_away(visit, runs):
    driver = visit(runs / "images" / "report.html")
    ae, state, _ = load_run(runs / "images")
    near = nearest_directions(directions_of(ae, state.variables), count=5)
    latent = numbers(driver)[2]
    buttons = cards(driver)[2].find_elements(By.CSS_SELECTOR, ".near button")
    assert [int(b.text) for b in buttons] == near.indices[latent].tolist()
    assert f"{near.cosines[latent, 0]:.2f}" in buttons[0].find_element(By.XPATH, "..").text
    live = set(numbers(driver))
    button = next(b for b in buttons if int(b.text) in live or b is buttons[-1])
    wanted = int(button.text)
    button.send_keys(Keys.ENTER)
    assert f"Latent {wanted}\n" in find(driver, "latents").text
    assert find(driver, "status").text == f"latent {wanted} alone"


def test_a_bar_lists_its_latents(visit, runs, z):
    driver = visit(runs / "images" / "report.html")
    plot = find(driver, "density")
    driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", plot)
    bars = "return [arguments[0].data[0].x, arguments[0].data[0].y]"
    middles, counts = driver.execute_script(bars, plot)
    tallest = int(np.argmax(counts))
    place = driver.execute_script(
        """
        const { xaxis, yaxis } = arguments[0]._fullLayout;
        const y = yaxis.l2p(0.5 * arguments[0].data[0].y[arguments[1]]);
        const x = xaxis.l2p(arguments[0].data[0].x[arguments[1]]);
        return [x + xaxis._offset, y + yaxis._offset];
        """,
        plot,
        tallest,
    )
    x, y = np.array(place) - np.array([plot.size["width"], plot.size["height"]]) / 2
    move = ActionChains(driver).move_to_element_with_offset(plot, int(x), int(y))
    move.pause(0.3).click().pause(0.3).perform()
    assert find(driver, "status").text.endswith(f" of {counts[tallest]} latents")
    rate = np.log10((z != 0).mean(0)[numbers(driver)])
    half = (middles[1] - middles[0]) / 2
    assert (np.abs(rate - middles[tallest]) <= half + 1e-6).all()


def test_words_are_text_and_can_be_searched(visit, runs):
    driver = visit(runs / "words" / "report.html")
    script = "return document.querySelectorAll('.latents b, .latents script').length"
    assert driver.execute_script(script) == 0 and driver.title == "words"
    token = driver.find_element(By.CSS_SELECTOR, ".token").text
    find(driver, "word").send_keys(token)
    assert all(token in card.text for card in cards(driver)) and cards(driver)


def test_series_are_lines(visit, runs):
    driver = visit(runs / "lines" / "report.html")
    canvas = driver.find_element(By.CSS_SELECTOR, ".lines canvas")
    assert image_of(driver, canvas).shape == (120, 240)
    assert driver.find_elements(By.CSS_SELECTOR, ".direction canvas")


@pytest.mark.parametrize("name", ["images", "words", "lines"])
def test_a_phone_does_not_scroll_sideways(visit, runs, name, too_wide):
    assert too_wide(visit(runs / name / "report.html", width=360)) == []


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("name", ["images", "words"])
def test_all_text_can_be_read(visit, runs, name, dark, contrasts):
    found = contrasts(visit(runs / name / "report.html", dark=dark))
    assert len(found) > 100 and [each for each in found if each[0] < 4.5] == []


def test_lines_follow_when_the_reader_turns_to_the_dark(visit, runs):
    driver = visit(runs / "lines" / "report.html")
    before = image_of(driver, driver.find_element(By.CSS_SELECTOR, ".lines canvas"))
    dark = {"name": "prefers-color-scheme", "value": "dark"}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [dark]})
    time.sleep(1)
    after = image_of(driver, driver.find_element(By.CSS_SELECTOR, ".lines canvas"))
    assert (before != after).any()
