"""Write what is generated in the Markdown pages, from measured results and the configurations.

python -m experiments.pages                 write the generated parts of every page
python -m experiments.pages --check         name the pages that are out of date (exit code 1)
python -m experiments.pages --pictures      draw the pictures of the pages again too

A generated part stands between ``<!-- generated: NAME -->`` and ``<!-- end -->``. Its numbers come
from `experiments/results/*.json`, `experiments/benchmarks/measured.json`,
`experiments/benchmarks/compiled.json` and `experiments/stress/measured.json`.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ae_jax import plots
from experiments.cli import parse_options, run_main
from experiments.pages import parts, pictures
from experiments.reproduce import RESULTS, page

PAGES: dict[str, tuple[Callable[[], str], ...]] = {
    "README.md": (parts.bullets, parts.models, parts.my_model),
    "ae_jax/models/README.md": (parts.tasks, parts.sizes),
    "experiments/README.md": (parts.configurations,),
    "experiments/benchmarks/README.md": (parts.benchmarks, parts.compiled, parts.others),
    "experiments/stress/README.md": (parts.stress,),
}
"""Page -> its generated parts, in order; each is marked by the name of its function."""

PART = re.compile(r"(<!-- generated: (\w+) -->\n).*?(<!-- end -->\n)", re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class Options:
    check: bool = False
    """Write nothing; exit code 1 if a page is out of date."""
    pictures: bool = False
    """Draw the pictures again too."""


def main(argv: Sequence[str]) -> None:
    options = parse_options(argv, Options, prog="python -m experiments.pages", about=__doc__)
    pages = written()
    stale = [name for name, text in pages.items() if (parts.ROOT / name).read_text() != text]
    if options.check:
        if stale:
            raise SystemExit(f"out of date: {', '.join(stale)}: run python -m experiments.pages")
        return
    if options.pictures:
        pictures.strip(RESULTS).save(RESULTS / "strip.png", optimize=True)
        chart = pictures.ratios(parts.read(parts.BENCHMARKS)["tables"])
        plots.save(chart, parts.BENCHMARKS.with_name("ratios.png"))
    for name in stale:
        (parts.ROOT / name).write_text(pages[name])
        print(f"wrote {name}")


def written() -> dict[str, str]:
    """The text of every page by its path, with all generated parts as they must be."""
    results = (RESULTS / "README.md").relative_to(parts.ROOT)
    return {**{name: _with_parts(name) for name in PAGES}, str(results): page(RESULTS)}


def _with_parts(name: str) -> str:
    text, made = (parts.ROOT / name).read_text(), {part.__name__: part for part in PAGES[name]}
    marked = [part for _, part, _ in PART.findall(text)]
    if marked != list(made):
        raise ValueError(f"{name}: marks {marked} as generated, which must be {list(made)}")
    return PART.sub(lambda match: f"{match[1]}{made[match[2]]()}\n{match[3]}", text)


if __name__ == "__main__":
    run_main(main)
