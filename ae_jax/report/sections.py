"""The sections of a page as HTML elements; the scripts make them interactive."""

from collections.abc import Mapping, Sequence
from typing import Any
from xml.etree.ElementTree import Element

from ae_jax.files import read_json
from ae_jax.report import tables
from ae_jax.report.figures import Figure, figure_element, read_figures
from ae_jax.report.markup import shorten, tag
from ae_jax.storage.runs import Run

HELP = (
    "Point at one to see its example; choose it (click, tap, or type its row) to start from its "
    "latents."
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


def explorer_section(number: int, explorer: Mapping[str, Any]) -> Element:
    """The elements of the latent explorer; `explorer.js` makes them interactive."""
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
        if kind == "example" or explorer["decoder"]
    ]
    sliders = [
        tag(
            "div",
            tag("label", f"latent {each['latent'] + 1}", for_=f"{name}-latent-{each['latent']}"),
            tag(
                "input",
                type="range",
                id=f"{name}-latent-{each['latent']}",
                min=str(each["low"]),
                max=str(each["high"]),
                step="any",
            ),
            tag("output", for_=f"{name}-latent-{each['latent']}"),
            class_="slider",
        )
        for each in (explorer["sliders"] if explorer["decoder"] else ())
    ]
    count, total = len(sliders), explorer["size"]
    about = f"The decoder runs in this page ({explorer['data']}, step {explorer['step']})."
    if count < total:
        about += (
            f" {count} of {total} latents, those of largest {explorer['order']}; the others stay."
        )
    if not explorer["decoder"]:
        about = f"No sliders: the decoder does not run in a page: {explorer['reason']}."
    buttons = [tag("button", "Mean latents", type="button", class_="reset")] if count else []
    return tag(
        "div",
        *map(note, explorer["weaknesses"]),
        note(f"{explorer['plane']['about']} {HELP}"),
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


SORTS = {
    "frequency": "most frequent",
    "rare": "least frequent",
    "index": "number",
    "activation": "mean activation",
    "cosine": "nearest neighbor",
}


def dictionary_section(number: int, dictionary: Mapping[str, Any]) -> Element:
    """The elements of the dictionary; `dictionary.js` fills the list of latents."""
    name = f"dictionary-{number}"
    d, m = dictionary, dictionary["metrics"]
    count, examples = d["width"], d["examples"]
    of = "" if d["total"] == examples else f" of {d['total']}, evenly spaced"
    about = (
        f"{count} latents, {d['histogram']['dead']} of them never active. "
        f"{m['l0']:.4g} are active for an example, on average, and explain "
        f"{m['explained_variance']:.1%} of the variance ({d['data']}, step {d['step']}, "
        f"{examples} test examples{of})."
    )

    def field(label: str, kind: str, after: str = "", **attributes: str) -> Element:
        control = tag("input", id=f"{name}-{kind}", class_=kind, **attributes)
        return tag("label", label, control, after, for_=f"{name}-{kind}")

    percent = {"type": "number", "min": "0", "max": "100", "step": "any"}
    sort = tag(
        "select",
        *(tag("option", text, value=key) for key, text in SORTS.items()),
        id=f"{name}-sort",
        class_="sort",
    )
    fields = [
        field("latent ", "latent-number", type="number", min="0", max=str(count - 1), step="1"),
        field("active for ", "least", " %", **percent),
        field("to ", "most", " % of the examples", **percent),
        *([field("word ", "word", type="search")] if d["words"] is not None else []),
        tag("label", "first the ", sort, for_=f"{name}-sort"),
        tag("button", "All latents", type="button", class_="all"),
    ]
    pager = [
        tag("button", "Back", type="button", class_="back"),
        tag("button", "Next", type="button", class_="next"),
        tag("span", class_="status", aria_live="polite"),
    ]
    return tag(
        "div",
        note(about),
        tag("div", class_="plot density"),
        note("Choose a bar to see its latents."),
        tag("p", *fields, class_="controls"),
        tag("p", *pager, class_="controls"),
        tag("div", class_="latents"),
        id=name,
        class_="dictionary",
    )


def environment_section(runs: Mapping[str, Run], notes: list[str]) -> list[Element]:
    """The environments of runs as a table; what cannot be read adds a line to `notes`."""
    environments, elements = {}, []
    for name, run in runs.items():
        try:
            environments[name] = read_json(run.path / "environment.json")
        except (ValueError, OSError) as error:
            notes.append(f"{name}: no environment: {error}")
            elements.append(note(f"{name}: {error}"))
    return [*elements, *([tables.settings(environments)] if environments else [])]


def run_figures(name: str, run: Run, notes: list[str]) -> list[Figure]:
    """The figures of a run; each file that is skipped adds a line to `notes`."""
    figures, problems = read_figures(run.path / "figures")
    notes += [f"{name}: {problem}" for problem in problems]
    return figures


def evaluation_section(
    runs: Mapping[str, Run], figures: Mapping[str, list[Figure]], notes: list[str]
) -> list[Element]:
    """The tables of evaluation.json, with the figures that it names: they move out of `figures`."""
    tasks: dict[str, dict[str, Any]] = {}
    elements: list[Element] = []
    for name, run in runs.items():
        if not (run.path / "evaluation.json").exists():
            command = f"python -m experiments.evaluate {run.path}"
            elements.append(note(f"{name} is not measured: {command}"))
            continue
        try:
            about, results = _evaluation(run)
            elements.append(note(f"{name}: {about}"))
            for task, result in results.items():
                if isinstance(result, dict):
                    tasks.setdefault(task, {})[name] = result
                else:
                    elements.append(note(f"{name}: {shorten(task)} is skipped: it is not a table"))
        except (ValueError, OSError) as error:
            notes.append(f"{name}: no evaluation: {error}")
            elements.append(note(f"{name}: {error}"))
    for task, results in tasks.items():
        elements += [tag("h3", shorten(task)), *tables.task_metrics(results, list(runs))]
        drawn = []
        for name, result in results.items():
            listed = result.get("figures")
            names = listed if isinstance(listed, list) else []
            chosen = [figure for figure in figures[name] if figure.name in names]
            figures[name][:] = [figure for figure in figures[name] if figure not in chosen]
            drawn += [figure_element(each, name if len(runs) > 1 else "") for each in chosen]
        if drawn:
            elements.append(tag("div", *drawn, class_="figures"))
    return elements


def _evaluation(run: Run) -> tuple[str, dict[str, Any]]:
    """A line on the examples that were measured, and the result of each task."""
    file = run.path / "evaluation.json"
    content = read_json(file)
    tasks = content.get("tasks") if isinstance(content, dict) else None
    if not isinstance(tasks, dict):
        raise ValueError(f"{file} is not a file of experiments.evaluate: run that again")
    about = {name: value for name, value in content.items() if name != "tasks"}
    return ", ".join(f"{name} {text}" for name, text in tables.leaves(about)), tasks


def gallery(figures: Mapping[str, Sequence[Figure]], several: bool) -> list[Element]:
    """Figures of the same name beside each other."""
    names = sorted({figure.name for each in figures.values() for figure in each})
    drawn = [
        figure_element(figure, run if several else "")
        for name in names
        for run, each in figures.items()
        for figure in each
        if figure.name == name
    ]
    return [tag("div", *drawn, class_="figures")] if drawn else []
