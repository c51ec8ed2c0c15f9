"""`write_report` turns run directories into one HTML file."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

from ae_jax.core import Autoencoder
from ae_jax.files import user_path, writable_file, write_whole
from ae_jax.models import Model
from ae_jax.report import markup, sections, tables
from ae_jax.report.curves import curves
from ae_jax.report.dictionary import dictionary
from ae_jax.report.explorer import explorer
from ae_jax.report.markup import tag
from ae_jax.report.opened import open_run
from ae_jax.storage.runs import Run

SCRIPTS = ("decoder.js", "curves.js", "explorer.js", "dictionary.js", "page.js")


def write_report(
    paths: Sequence[str | Path],
    output: str | Path,
    *,
    step: int | None = None,
    data_name: str | None = None,
    data_dir: str | None = None,
    allow_changes: bool = False,
    models: Any = Model,
    ae: Autoencoder | None = None,
) -> list[str]:
    """Write a page about one run directory, or about several side by side.

    The explorer uses the checkpoint of `step` (by default the newest) and the test data
    `data_name` in `data_dir` (by default the data of the run, which must be as it was in training
    unless `allow_changes` is True). `models` and `ae` are for models of your own (see
    `ae_jax.load_run`).

    Returns:
      A line for each thing that the page lacks; the page says the same.

    Raises:
      ValueError: a path is not a run directory, its rows are damaged, `output` cannot be written,
        or plotly is missing.
      OSError: the disk is full.
    """
    plotly, output = _plotly(), writable_file(output)
    runs = dict(zip(_names(paths), map(Run.open, paths), strict=True))
    rows = {name: run.rows() for name, run in runs.items()}
    several = len(runs) > 1
    title = " and ".join(runs) if len(runs) < 4 else f"{len(runs)} runs"
    notes: list[str] = []
    charts, omitted = curves(rows)
    explorers: list[dict[str, Any]] = []
    dictionaries: list[dict[str, Any]] = []
    shown: list[Element] = []
    listed: list[Element] = []
    for name, run in runs.items():
        heading = [tag("h3", name)] if several else []
        shown += heading
        with _noting(notes, shown, name, "latent explorer"):
            opened = open_run(
                run,
                step=step,
                data_name=data_name,
                data_dir=data_dir,
                allow_changes=allow_changes,
                models=models,
                ae=ae,
            )
            if opened.ae.method("directions") is not None:
                listed += heading
                with _noting(notes, listed, name, "dictionary"):
                    content = dictionary(opened)
                    listed.append(sections.dictionary_section(len(dictionaries), content))
                    dictionaries.append(content)
            content = explorer(opened)
            shown.append(sections.explorer_section(len(explorers), content))
            explorers.append(content)
    figures = {name: sections.run_figures(name, run, notes) for name, run in runs.items()}
    differs = [sections.note("Settings that differ come first.")] if several else []
    settings = tables.settings({name: run.config for name, run in runs.items()})
    parts = {
        "Curves": sections.curves_section(charts, omitted),
        "Test metrics": [tables.last_test_row(rows)],
        "Latent explorer": shown,
        "Dictionary": listed,
        "Evaluation": sections.evaluation_section(runs, figures, notes),
        "Figures": sections.gallery(figures, several),
        "Settings": [*differs, settings],
        "Environment": sections.environment_section(runs, notes),
    }
    text = markup.page(
        title,
        style=_file("report.css"),
        scripts=[plotly, "\n".join(map(_file, SCRIPTS))],
        body=[
            *_body(title, parts),
            markup.data("data-curves", {"runs": list(runs), "charts": charts}),
            markup.data("data-explorers", explorers),
            markup.data("data-dictionaries", dictionaries),
        ],
    )
    write_whole(output, text)
    return notes


@contextmanager
def _noting(notes: list[str], elements: list[Element], run: str, what: str) -> Iterator[None]:
    """A part that stands or falls alone: why it is missing is a line, in the page too."""
    try:
        yield
    except (ValueError, TypeError, OSError) as error:
        why = str(error).partition("\n")[0]
        notes.append(f"{run}: no {what}: {why}")
        elements.append(sections.note(f"No {what}: {why}"))


def _plotly() -> str:
    try:
        from plotly.offline import get_plotlyjs
    except ImportError:
        raise ValueError("plotly is not installed: pip install 'ae_jax[report]'") from None
    return str(get_plotlyjs())


def _file(name: str) -> str:
    return (Path(__file__).parent / name).read_text("utf-8")


def _names(paths: Sequence[str | Path]) -> list[str]:
    """The last part of each path, or the full paths if two last parts are equal."""
    if len({user_path(path).resolve() for path in paths}) < len(paths):
        raise ValueError(f"{', '.join(map(str, paths))}: give each run once")
    names = [user_path(path).resolve().name for path in paths]
    return names if len(set(names)) == len(names) else list(map(str, paths))


def _body(title: str, parts: Mapping[str, Sequence[Element]]) -> list[Element]:
    sections, links = [], []
    for name, elements in parts.items():
        if elements:
            anchor = name.lower().replace(" ", "-")
            sections.append(tag("section", tag("h2", name), *elements, id=anchor))
            links.append(tag("a", name, href=f"#{anchor}"))
    return [tag("header", tag("h1", title), tag("nav", *links)), tag("main", *sections)]
