"""One HTML page about a run, or about several side by side: curves, tables, figures, an explorer.

python -m experiments.report runs/vae2                         writes runs/vae2/report.html
python -m experiments.report runs/vae2 runs/vae --output both.html
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ae_jax.report import write_report
from experiments.cli import parse_all, run_main


def main(argv: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.report",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        exit_on_error=False,
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", help="a run directory")
    parser.add_argument("--output", help="the file to write; by default RUN/report.html")
    parser.add_argument("--step", type=int, help="of the checkpoint; by default the newest")
    parser.add_argument("--data-name", help="explore another data set, of the same shape")
    parser.add_argument("--data-dir", help="where it is, if not where it was in training")
    options = parse_all(parser, argv)
    if options.output is None and len(options.runs) > 1:
        raise ValueError("--output FILE: needed for a page about several runs")
    output = Path(options.output or Path(options.runs[0], "report.html"))
    notes = write_report(
        options.runs,
        output,
        step=options.step,
        data_name=options.data_name,
        data_dir=options.data_dir,
    )
    for note in notes:
        print(note, file=sys.stderr)
    print(f"{output}  {output.stat().st_size:,} bytes")


if __name__ == "__main__":
    run_main(main)
