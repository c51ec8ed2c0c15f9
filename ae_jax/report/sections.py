"""The sections of a page as HTML elements, which the scripts bring to life."""

from collections.abc import Mapping, Sequence
from typing import Any
from xml.etree.ElementTree import Element

from ae_jax.files import read_json
from ae_jax.report import figures
from ae_jax.report.markup import shorten, tag
from ae_jax.report.pictures import Picture, figure, read_pictures
from ae_jax.storage.runs import Run

HELP = (
    "Point at one to see its example; choose it (click, tap, or give its row) to start from its "
    "code."
)


def note(text: str) -> Element:
    return tag("p", text, class_="note")


def curves_section(charts: Sequence[Mapping[str, Any]], omitted: str) -> list[Element]:
    if not charts:
        return [note("No rows in metrics.jsonl yet.")]
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
        note(f"{help} {omitted}".strip()),
        tag("div", *drawn, class_="charts"),
    ]


def explorer_section(number: int, found: Mapping[str, Any]) -> Element:
    """The explorer's elements, which `explorer.js` brings to life."""
    name = f"explorer-{number}"
    row = tag("input", type="number", id=f"{name}-row", min="0", step="1", class_="row")
    choose = tag("label", "Row ", for_=f"{name}-row"), row
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
        note(f"{found['plane']['about']} {HELP}"),
        tag(
            "div",
            tag("div", class_="plot plane"),
            tag(
                "div",
                tag("p", *choose, *buttons, class_="controls"),
                tag("div", *sides, class_="sides"),
                note(about),
                tag("div", *sliders, class_="sliders"),
                class_="panel",
            ),
            class_="explorer",
        ),
        id=name,
    )


def environment_section(runs: Mapping[str, Run], notes: list[str]) -> list[Element]:
    found, made = {}, []
    for name, run in runs.items():
        try:
            found[name] = read_json(run.path / "environment.json")
        except (ValueError, OSError) as error:
            notes.append(f"{name}: no environment: {error}")
            made.append(note(f"{name}: {error}"))
    return [*made, *([figures.settings(found)] if found else [])]


def run_pictures(name: str, run: Run, notes: list[str]) -> list[Picture]:
    pictures, problems = read_pictures(run.path / "figures")
    notes += [f"{name}: {problem}" for problem in problems]
    return pictures


def uses_section(
    runs: Mapping[str, Run], pictures: Mapping[str, list[Picture]], notes: list[str]
) -> list[Element]:
    """The tables of evaluation.json with the pictures it names, which are taken from `pictures`."""
    uses: dict[str, dict[str, Any]] = {}
    made: list[Element] = []
    for name, run in runs.items():
        if not (run.path / "evaluation.json").exists():
            command = f"python -m experiments.evaluate {run.path}"
            made.append(note(f"{name} is not measured: {command}"))
            continue
        try:
            about, found = _evaluation(run)
            made.append(note(f"{name}: {about}"))
            for use, measured in found.items():
                if isinstance(measured, dict):
                    uses.setdefault(use, {})[name] = measured
                else:
                    made.append(note(f"{name}: {shorten(use)} is left out: it is not a table"))
        except (ValueError, OSError) as error:
            notes.append(f"{name}: no evaluation: {error}")
            made.append(note(f"{name}: {error}"))
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


def _evaluation(run: Run) -> tuple[str, dict[str, Any]]:
    """Which examples were measured, in words, and what was found for each use."""
    file = run.path / "evaluation.json"
    found = read_json(file)
    uses = found.get("uses") if isinstance(found, dict) else None
    if not isinstance(uses, dict):
        raise ValueError(f"{file} is not what experiments.evaluate writes")
    about = {name: value for name, value in found.items() if name not in ("uses", "conventions")}
    return ", ".join(f"{name} {text}" for name, text in figures.leaves(about)), uses


def gallery(pictures: Mapping[str, Sequence[Picture]], several: bool) -> list[Element]:
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
