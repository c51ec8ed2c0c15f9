"""Reproduce published figures: train each row, write its result, and a table of all results.

    python -m experiments.reproduce                        every row
    python -m experiments.reproduce simple vae             these rows
    python -m experiments.reproduce --quick                one epoch of a few digits: does it run?
    python -m experiments.reproduce --table                only the table, from earlier results

Results are `experiments/results/ROW.json` and `experiments/results/README.md`. A row that was
stopped goes on from its last checkpoint under `--runs`.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax

from ae_jax.devices.names import device_name
from ae_jax.spec import nearest
from experiments.cli import parse_all, run_main
from experiments.reproductions import ROWS
from experiments.reproductions.setup import SHAPES, Setup

RESULTS = Path(__file__).parent / "results"


def main(argv: Sequence[str]) -> None:
    options = _options(argv)
    for row in options.rows:
        if row not in ROWS:
            raise ValueError(f"no row {row!r}: {nearest(row, ROWS)}")
    dirs = dict.fromkeys(SHAPES, options.data_dir)
    dirs["fashion_mnist"] = options.fashion_dir or options.data_dir
    if not options.table:
        with tempfile.TemporaryDirectory() as scratch:
            runs = Path(scratch) if options.quick else options.runs
            results = Path(scratch) if options.quick else options.results
            results.mkdir(parents=True, exist_ok=True)
            for row in options.rows or ROWS:
                result = run_row(row, Setup(dirs, runs, results, options.quick))
                file = results / f"{row}.json"
                file.write_text(json.dumps(result, indent=2) + "\n")
                print(_line(row, result), flush=True)
    if not options.quick:
        (options.results / "README.md").write_text(table(options.results))
        print(f"wrote {options.results / 'README.md'}")


def run_row(name: str, setup: Setup) -> dict[str, Any]:
    """All seeds of one row, JSON-ready. A quick one runs a single seed."""
    row, began = ROWS[name], time.perf_counter()
    seeds = range(1 if setup.quick else row.seeds)
    found = [row.run(setup, name, seed) for seed in seeds]
    return {
        "figures": {key: [figures[key] for figures in found] for key in found[0]},
        "seeds": list(seeds),
        "seconds": round(time.perf_counter() - began, 1),
        "device": f"{device_name()}, {os.cpu_count()} CPU cores",
        "jax": jax.__version__,
    }


def table(results: Path) -> str:
    """The results as a Markdown table; rows that have not been run are left out."""
    lines = [
        "| row | setting | published | to reach | ours | seconds | device |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    pages = []
    for name, row in ROWS.items():
        file = results / f"{name}.json"
        if not file.exists():
            continue
        result = json.loads(file.read_text())
        published = row.published if row.source == "-" else f"{row.published} ({row.source})"
        ours = _figures(result, row.shown)
        device = f"{result['device']}, jax {result['jax']}"
        cells = [name, row.setting, published, row.reach, ours, result["seconds"], device]
        lines.append("| " + " | ".join(str(cell) for cell in cells) + " |")
        if row.page is not None:
            pages.append(row.page(result["figures"]))
    return "\n".join(["\n".join(lines) + "\n", *pages])


def _figures(result: dict[str, Any], shown: int | None) -> str:
    """The first figure as mean ± half the spread over seeds, then the others by name."""
    parts = []
    for i, (key, values) in enumerate(list(result["figures"].items())[:shown]):
        mean = sum(values) / len(values)
        spread = f" ± {(max(values) - min(values)) / 2:.2g}" if len(values) > 1 else ""
        parts.append(f"**{mean:.4g}**{spread}" if i == 0 else f"{key} {mean:.4g}{spread}")
    return ", ".join(parts)


def _line(row: str, result: dict[str, Any]) -> str:
    figures = _figures(result, ROWS[row].shown).replace("**", "")
    return f"{row}: {figures} (to reach: {ROWS[row].reach}; {result['seconds']} s)"


def _options(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.reproduce",
        description=(__doc__ or "").partition("\n")[0],
        epilog=f"rows: {', '.join(ROWS)}",
        exit_on_error=False,
    )
    parser.add_argument("rows", nargs="*", metavar="ROW", help="by default all of them")
    parser.add_argument(
        "--quick", action="store_true", help="one epoch of a few digits: does it run?"
    )
    parser.add_argument("--table", action="store_true", help="only write the table again")
    parser.add_argument("--data-dir", help="prepared data sets; default: $AE_JAX_DATA or TFDS's")
    parser.add_argument("--fashion-dir", help="Fashion-MNIST, if elsewhere (idx .gz files do)")
    parser.add_argument("--runs", type=Path, default=Path("runs/reproduce"), metavar="DIR")
    parser.add_argument("--results", type=Path, default=RESULTS, metavar="DIR")
    options = parse_all(parser, argv)
    return options


if __name__ == "__main__":
    run_main(main)
