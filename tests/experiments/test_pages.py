"""The Markdown pages: generated parts are those of the measured JSON, links resolve, code runs."""

import importlib.util
import re
from itertools import chain

import numpy as np
import pytest
from PIL import Image

from ae_jax.data import load
from ae_jax.training import fit
from experiments.configs import CONFIGS
from experiments.pages import parts, pictures
from experiments.pages.__main__ import PAGES, main, written
from experiments.reproduce import RESULTS
from experiments.reproductions import ROWS

FOLDERS = (".", ".github", "ae_jax", "experiments", "tests")
FILES = sorted(
    chain(
        *(parts.ROOT.joinpath(f).glob("*.md") for f in FOLDERS[:2]),
        *(parts.ROOT.joinpath(f).rglob("*.md") for f in FOLDERS[2:]),
    )
)
README = (parts.ROOT / "README.md").read_text()


@pytest.mark.parametrize("name", [*PAGES, "experiments/results/README.md"])
def test_generated_parts_are_those_of_the_measured_results(name):
    assert (parts.ROOT / name).read_text() == written()[name], "run python -m experiments.pages"


def test_a_stale_page_is_named(tmp_path, monkeypatch):
    for name in PAGES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text((parts.ROOT / name).read_text())
    stale = (tmp_path / "README.md").read_text().replace("100 of 100", "101 of 101")
    (tmp_path / "README.md").write_text(stale)
    (tmp_path / "experiments/results").mkdir(parents=True)
    (tmp_path / "experiments/results/README.md").write_text((RESULTS / "README.md").read_text())
    pages = written()
    monkeypatch.setattr(parts, "ROOT", tmp_path)
    monkeypatch.setattr("experiments.pages.__main__.written", lambda: pages)
    with pytest.raises(SystemExit, match="^out of date: README.md: run"):
        main(["--check"])
    main([])
    main(["--check"])
    assert (tmp_path / "README.md").read_text() == README


def test_the_readme_is_short_and_says_the_first_commands():
    assert len(README.splitlines()) <= 180
    assert "pip install -e . && python -m experiments.train\n" in README
    assert "pip install -e '.[test]' && pytest\n" in README
    version = re.search(r'^version = "(.*)"', (parts.ROOT / "pyproject.toml").read_text(), re.M)
    assert version and f"version = {{{version[1]}}}" in README


def slug(heading):
    """The anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(parts.ROOT)))
def test_relative_links_resolve(file):
    text = re.sub(r"```.*?```", "", file.read_text(), flags=re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (file.parent / path).resolve() if path else file
        assert target.exists(), f"{file}: {link}"
        if anchor:
            headings = re.findall(r"^#+ (.*)$", target.read_text(), re.MULTILINE)
            assert anchor in map(slug, headings), f"{file}: {link}"


ROW_OF = {name: name for name in ROWS} | {
    "conditional": "not measured yet", "dictionary": "0.678",  # no row
    "few_labels": "few-labels", "greedy": "geron-greedy", "lstm": "geron-lstm",
    "one_class": "one-class", "sparse": "sparse-l1", "sparse_kl": "geron-sparse-kl",
    "stacked": "geron-stacked", "tied": "geron-tied", "vae_conv": "vae-conv", "vae_nll": "vae-nll",
    "hamiltonian": "hvae-hamiltonian", "mean_field": "mean-field",
    "very_deep": "very-deep",
}  # fmt: skip
"""Configuration -> the row of the results that trains it, or what it says where there is no row."""


@pytest.mark.parametrize("name", CONFIGS)
def test_a_configuration_says_its_command_its_time_and_the_metric_of_its_row(name):
    told = parts.docstring(name)
    default = "" if name == "digits" else f" {name}"
    assert f"{told.command} ".startswith(f"experiments.train{default} ")
    assert re.match(r"about \d+ (s|minutes?)\b", told.time)
    row = ROW_OF[name]
    if row not in ROWS:
        assert row in told.expected
        return
    measured = (RESULTS / f"{row}.json").exists()
    expected = f"{parts.mean(row):#.4g}" if measured else f"experiments.reproduce {row}"
    assert expected in told.expected


def test_pictures_are_small():
    for picture in parts.ROOT.joinpath("experiments").rglob("*.png"):
        assert picture.stat().st_size < 300 * 1024, picture


def test_pictures_are_drawn_from_the_results(tmp_path):
    drawn = pictures.strip(RESULTS)
    with Image.open(RESULTS / "strip.png") as committed:
        np.testing.assert_array_equal(np.asarray(drawn), np.asarray(committed))
    chart = pictures.ratios(parts.read(parts.BENCHMARKS)["tables"])
    assert len(chart.axes[0].patches) == 16  # a bar for each net and machine
    (tmp_path / "vae2-manifold.png").write_bytes((RESULTS / "denoise.png").read_bytes())
    with pytest.raises(ValueError, match="vae2-manifold.png=.* must be .* pixels"):
        pictures.strip(tmp_path)


def test_the_python_of_the_readme_runs():
    block = re.search(r"## In Python\n\n```python\n(.*?)```", README, re.DOTALL)
    names = {}
    exec(block[1].replace("epochs=100", "epochs=1"), names)
    assert names["latents"].shape == (360, 2) and names["images"].shape == (16, 8, 8, 1)
    assert len(block[1].splitlines()) == 12


@pytest.fixture(scope="module")
def my_model():
    spec = importlib.util.spec_from_file_location("my_model", parts.MODEL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_model_of_ones_own_trains(my_model):
    lines = parts.MODEL.read_text().splitlines()
    assert sum(map(bool, lines)) <= 40
    train = load("digits", "train")
    ae = my_model.CONFIG.model.build(train["x"].shape[1:])
    state, history = fit(ae, train, epochs=2, batch_size=256, seed=0)
    assert history[-1]["loss"] < history[0]["loss"]
    assert {"bce", "rate", "idle"} <= history[-1].keys()
    latents = np.asarray(ae.encode(state.variables, train["x"][:3]))
    assert latents.shape == (3, 32) and (latents > 0).all()
    assert my_model.CONFIG.model.kind in {spec.kind for spec in my_model.MODELS}
