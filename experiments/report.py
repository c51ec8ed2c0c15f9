"""One HTML page about a run, or about several side by side: curves, tables, figures, an explorer.

python -m experiments.report runs/vae2                         writes runs/vae2/report.html
python -m experiments.report runs/vae2 runs/vae --output both.html
python -m experiments.report my_config.py runs/mine            a model of one's own
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from ae_jax.files import user_path
from ae_jax.report import write_report
from experiments.cli import as_flags, parse_options, run_main
from experiments.user_file import split_models


@dataclass(frozen=True, kw_only=True)
class Options:
    runs: Annotated[tuple[str, ...], tyro.conf.Positional]
    """Run directories."""
    output: str | None = None
    """The file to write; by default RUN/report.html."""
    step: int | None = None
    """Of the checkpoint; by default the newest."""
    data_name: str | None = None
    """Explore another data set, of the same shape."""
    data_dir: str | None = None
    """Where it is, if not where it was in training."""
    allow_changes: bool = False
    """Explore the data even if it has changed since the training."""


def main(argv: Sequence[str]) -> None:
    models, argv = split_models(argv)
    options = parse_options(argv, Options, prog="python -m experiments.report", about=__doc__)
    if not options.runs:
        raise ValueError("give a run directory, or several: see --help")
    if options.output is None and len(options.runs) > 1:
        raise ValueError("--output FILE: needed for a page about several runs")
    output = user_path(options.output or Path(options.runs[0], "report.html"))
    notes = write_report(
        options.runs,
        output,
        step=options.step,
        data_name=options.data_name,
        data_dir=options.data_dir,
        allow_changes=options.allow_changes,
        models=models,
    )
    for note in notes:
        print(as_flags(note), file=sys.stderr)
    print(f"{output}  {output.stat().st_size:,} bytes")


if __name__ == "__main__":
    run_main(main)
