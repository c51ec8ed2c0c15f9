"""Reproduce published results: train each row, and write its result and a table of all results.

    python -m experiments.reproduce                        every row
    python -m experiments.reproduce simple vae             these rows
    python -m experiments.reproduce --quick                try all rows: one epoch of a few digits
    python -m experiments.reproduce --table                only write the table of earlier results

Results are `experiments/results/ROW.json` and `experiments/results/README.md`. A row that was
interrupted resumes from its last checkpoint under `--runs`.
"""

import json
import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import jax
import tyro

from ae_jax.devices.names import device_name
from ae_jax.spec import nearest
from experiments.cli import parse_options, run_main
from experiments.reproductions import ROWS
from experiments.reproductions.setup import SHAPES, Setup

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True, kw_only=True)
class Options:
    rows: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """By default all of them."""
    quick: bool = False
    """Only try whether rows run: one epoch of a few digits."""
    table: bool = False
    """Only write the table of earlier results."""
    data_dir: str | None = None
    """The folder of prepared data sets; by default $AE_JAX_DATA or that of TFDS."""
    fashion_dir: str | None = None
    """The folder of Fashion-MNIST if it is another one (also of idx .gz files)."""
    runs: Path = Path("runs/reproduce")
    """The folder for run directories."""
    results: Path = RESULTS
    """The folder for results."""

    def __post_init__(self) -> None:
        for row in self.rows:
            if row not in ROWS:
                raise ValueError(f"no row {row!r}: {nearest(row, ROWS)}")


def main(argv: Sequence[str]) -> None:
    about = f"{__doc__}\nrows: {', '.join(ROWS)}"
    options = parse_options(argv, Options, prog="python -m experiments.reproduce", about=about)
    dirs: dict[str, str | None] = dict.fromkeys(SHAPES, options.data_dir)
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
    """Run all seeds of one row (a single seed if quick); the result is JSON-ready."""
    row, began = ROWS[name], time.perf_counter()
    seeds = range(1 if setup.quick else row.seeds)
    runs = [row.run(setup, name, seed) for seed in seeds]
    return {
        "metrics": {key: [metrics[key] for metrics in runs] for key in runs[0]},
        "seeds": list(seeds),
        "seconds": round(time.perf_counter() - began, 1),
        "device": f"{device_name()}, {os.cpu_count()} CPU cores",
        "jax": jax.__version__,
    }


def table(results: Path) -> str:
    """The results as a Markdown table, without rows that have not been run."""
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
        ours = _metrics(result, row.shown)
        device = f"{result['device']}, jax {result['jax']}"
        cells = [name, row.setting, published, row.reach, ours, result["seconds"], device]
        lines.append("| " + " | ".join(str(cell) for cell in cells) + " |")
        if row.page is not None:
            pages.append(row.page(result["metrics"]))
    return "\n".join(["\n".join(lines) + "\n", *pages])


def _metrics(result: dict[str, Any], shown: int | None) -> str:
    """The first metric as mean ± half the range over seeds, then the others by name."""
    parts = []
    for i, (key, values) in enumerate(list(result["metrics"].items())[:shown]):
        mean = sum(values) / len(values)
        spread = f" ± {(max(values) - min(values)) / 2:.2g}" if len(values) > 1 else ""
        parts.append(f"**{mean:.4g}**{spread}" if i == 0 else f"{key} {mean:.4g}{spread}")
    return ", ".join(parts)


def _line(row: str, result: dict[str, Any]) -> str:
    metrics = _metrics(result, ROWS[row].shown).replace("**", "")
    return f"{row}: {metrics} (to reach: {ROWS[row].reach}; {result['seconds']} s)"


if __name__ == "__main__":
    run_main(main)
