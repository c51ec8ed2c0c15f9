"""`write_report`: run directories in, one file out."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

from ae_jax.files import read_json, write_whole
from ae_jax.report import figures, markup
from ae_jax.report.curves import curves
from ae_jax.report.explorer import explorer
from ae_jax.report.markup import shorten, tag
from ae_jax.report.pictures import Picture, figure, read_pictures
from ae_jax.runs import Run

SCRIPTS = ("decoder.js", "curves.js", "explorer.js", "page.js")
NOTE = "note"


def write_report(
    paths: Sequence[str | Path],
    output: str | Path,
    *,
    step: int | None = None,
    data_name: str | None = None,
    data_dir: str | None = None,
) -> list[str]:
    """Write a page about one run directory, or about several side by side.

    The explorer uses the newest checkpoint (or that of `step`) and the test data that the run names
    (or `data_name`, in `data_dir`).

    Returns:
      A line for each thing that the page had to do without; it says the same.

    Raises:
      ValueError: not a run directory, damaged rows, or plotly is not installed.
      OSError: `output` cannot be written.
    """
    plotly = _plotly()
    runs = dict(zip(_names(paths), map(Run.open, paths), strict=True))
    rows = {name: run.rows() for name, run in runs.items()}
    several = len(runs) > 1
    notes: list[str] = []
    charts, omitted = curves(rows)
    shown = {"runs": list(runs), "charts": charts}
    title = " and ".join(runs) if len(runs) < 4 else f"{len(runs)} runs"
    sections = {
        "Curves": _curves(charts, omitted),
        "Test figures": [figures.last_test_row(rows)],
        "Latent explorer": [],
        "Uses": [],
        "Figures": [],
        "Settings": [figures.settings({name: run.config for name, run in runs.items()})],
        "Environment": _environment(runs, notes),
    }
    explorers = []
    for name, run in runs.items():
        if several:
            sections["Latent explorer"].append(tag("h3", name))
        try:
            found = explorer(run, step=step, data_name=data_name, data_dir=data_dir)
        except (ValueError, OSError) as error:
            notes.append(f"{name}: no latent explorer: {error}")
            sections["Latent explorer"].append(tag("p", f"There is none: {error}", class_=NOTE))
            continue
        sections["Latent explorer"].append(_explorer(len(explorers), found))
        explorers.append(found)
    pictures = {name: _read_pictures(name, run, notes) for name, run in runs.items()}
    sections["Uses"] = _uses(runs, pictures, notes)
    sections["Figures"] = _gallery(pictures, several)
    if several:
        sections["Settings"].insert(0, tag("p", "What differs comes first.", class_=NOTE))
    text = markup.page(
        title,
        style=_file("report.css"),
        scripts=[plotly, "\n".join(map(_file, SCRIPTS))],
        body=[*_body(title, sections), markup.data("data-curves", shown), markup.data("data-explorers", explorers)],
    )
    write_whole(Path(output), text)
    return notes


def _plotly() -> str:
    try:
        from plotly.offline import get_plotlyjs
    except ImportError:
        raise ValueError("a report needs plotly: pip install 'ae_jax[report]'") from None
    return str(get_plotlyjs())


def _file(name: str) -> str:
    return (Path(__file__).parent / name).read_text("utf-8")


def _names(paths: Sequence[str | Path]) -> list[str]:
    """The last part of each path, or the whole of it where several share that."""
    if len({Path(path).resolve() for path in paths}) < len(paths):
        raise ValueError(f"{', '.join(map(str, paths))}: give each run once")
    short = [Path(path).resolve().name for path in paths]
    alone = len(set(short)) == len(short)
    return [shorten(markup.clean(str(name))) for name in (short if alone else paths)]


def _body(title: str, sections: Mapping[str, Sequence[Element]]) -> list[Element]:
    made, links = [], []
    for name, content in sections.items():
        if content:
            anchor = name.lower().replace(" ", "-")
            made.append(tag("section", tag("h2", name), *content, id=anchor))
            links.append(tag("a", name, href=f"#{anchor}"))
    return [tag("header", tag("h1", title), tag("nav", *links)), tag("main", *made)]


def _curves(charts: Sequence[Mapping[str, Any]], omitted: str) -> list[Element]:
    if not charts:
        return [tag("p", "No rows in metrics.jsonl yet.", class_=NOTE)]
    log = tag("label", tag("input", type="checkbox", id="log-scale"), " logarithmic")
    axis = tag(
        "label",
        "over ",
        tag("select", *(tag("option", unit) for unit in ("step", "epoch")), id="curve-unit"),
    )
    help = "Raw terms are unweighted. Drag to zoom, double-click to go back."
    drawn = [
        tag("div", tag("h3", shorten(c["name"])), tag("div", class_="plot"), class_="chart")
        for c in charts
    ]
    return [
        tag("p", log, axis, class_="controls"),
        tag("p", f"{help} {omitted}".strip(), class_=NOTE),
        tag("div", *drawn, class_="charts"),
    ]


def _explorer(number: int, found: Mapping[str, Any]) -> Element:
    """The explorer's elements, which `explorer.js` brings to life."""
    name = f"explorer-{number}"
    choose = tag("input", type="number", id=f"{name}-row", min="0", step="1", class_="row")
    sides = [
        tag(
            "figure",
            tag("canvas", role="img", aria_label=f"{what}: nothing chosen yet", class_=kind),
            tag("figcaption", what, class_=f"{kind}-caption", aria_live="polite"),
        )
        for kind, what in (("example", "Test example"), ("decoded", "Decoded"))
        if kind == "example" or found["decoder"]
    ]
    sliders = [
        tag(
            "div",
            tag("label", f"code {each['code'] + 1}", for_=f"{name}-code-{each['code']}"),
            tag(
                "input",
                type="range",
                id=f"{name}-code-{each['code']}",
                min=str(each["low"]),
                max=str(each["high"]),
                step="any",
            ),
            tag("output", for_=f"{name}-code-{each['code']}"),
            class_="slider",
        )
        for each in (found["sliders"] if found["decoder"] else ())
    ]
    count, total = len(sliders), found["size"]
    about = f"The decoder runs in this page ({found['data']}, step {found['step']})."
    if count < total:
        about += f" {count} of {total} codes, those of largest {found['order']}; the others stay."
    if not found["decoder"]:
        about = f"No sliders: the decoder does not run in a page: {found['reason']}."
    buttons = [tag("button", "Mean code", type="button", class_="reset")] if count else []
    return tag(
        "div",
        tag("p", f"{found['plane']['about']} Point at one to see its example, choose it (click, tap, "
            "or its row) to start from its code.", class_=NOTE),
        tag(
            "div",
            tag("div", class_="plot scatter"),
            tag(
                "div",
                tag("p", tag("label", "Row ", for_=f"{name}-row"), choose, *buttons, class_="controls"),
                tag("div", *sides, class_="sides"),
                tag("p", about, class_=NOTE),
                tag("div", *sliders, class_="sliders"),
                class_="panel",
            ),
            class_="explorer",
        ),
        id=name,
    )  # fmt: skip


def _environment(runs: Mapping[str, Run], notes: list[str]) -> list[Element]:
    found, made = {}, []
    for name, run in runs.items():
        try:
            found[name] = read_json(run.path / "environment.json")
        except (ValueError, OSError) as error:
            notes.append(f"{name}: no environment: {error}")
            made.append(tag("p", f"{name}: {error}", class_=NOTE))
    return [*made, *([figures.settings(found)] if found else [])]


def _read_pictures(name: str, run: Run, notes: list[str]) -> list[Picture]:
    pictures, problems = read_pictures(run.path / "figures")
    notes += [f"{name}: {problem}" for problem in problems]
    return pictures


def _uses(
    runs: Mapping[str, Run], pictures: Mapping[str, list[Picture]], notes: list[str]
) -> list[Element]:
    """The tables of evaluation.json with the pictures it names, which are taken from `pictures`."""
    uses: dict[str, dict[str, Any]] = {}
    made: list[Element] = []
    for name, run in runs.items():
        try:
            for use, found in _evaluation(run).items():
                uses.setdefault(use, {})[name] = found
        except (ValueError, OSError) as error:
            notes.append(f"{name}: no evaluation: {error}")
            made.append(tag("p", f"{name}: {error}", class_=NOTE))
    for use, found in uses.items():
        made += [tag("h3", shorten(use)), *figures.measured(found, list(runs))]
        drawn = []
        for name, each in found.items():
            listed = each.get("pictures")
            wanted = listed if isinstance(listed, list) else []
            taken = [picture for picture in pictures[name] if picture.name in wanted]
            pictures[name][:] = [p for p in pictures[name] if p not in taken]
            drawn += [figure(picture, name if len(runs) > 1 else "") for picture in taken]
        if drawn:
            made.append(tag("div", *drawn, class_="figures"))
    return made


def _evaluation(run: Run) -> dict[str, dict[str, Any]]:
    file = run.path / "evaluation.json"
    if not file.exists():
        raise ValueError(f"not measured: python -m experiments.evaluate {run.path}")
    found = read_json(file)
    uses = found.get("uses") if isinstance(found, dict) else None
    if not isinstance(uses, dict) or not all(isinstance(use, dict) for use in uses.values()):
        raise ValueError(f"{file} is not what experiments.evaluate writes")
    return uses


def _gallery(pictures: Mapping[str, Sequence[Picture]], several: bool) -> list[Element]:
    """Figures of the same name beside each other."""
    names = sorted({picture.name for each in pictures.values() for picture in each})
    drawn = [
        figure(picture, run if several else "")
        for name in names
        for run, each in pictures.items()
        for picture in each
        if picture.name == name
    ]
    return [tag("div", *drawn, class_="figures")] if drawn else []
