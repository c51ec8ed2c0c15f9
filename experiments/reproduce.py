"""Reproduce published results: train each row, write its result, and a page of all results.

    python -m experiments.reproduce                        every row
    python -m experiments.reproduce simple vae             these rows
    python -m experiments.reproduce --quick                try all rows: one epoch of a few digits
    python -m experiments.reproduce iwae --long            train as long as published
    python -m experiments.reproduce --table                only write the page of earlier results

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
from ae_jax.files import user_path, writable_file, writable_folder
from ae_jax.spec import nearest, require
from experiments.cli import parse_options, run_main
from experiments.reproductions import ROWS
from experiments.reproductions.setup import SHAPES, Setup

RESULTS = Path(__file__).parent / "results"

INTRO = """# Results

Test metrics of every row of `experiments/reproductions`, beside the published ones. Run a row
again and write this page with

```
python -m experiments.reproduce simple vae     # these rows; without names, every row
python -m experiments.reproduce --table        # only this page, from the JSON files
```

The first metric is in bold: its mean, and ± half the spread over the seeds where there are several.
BCE is the binary cross-entropy in nats. Géron is *Hands-on machine learning*, notebook 17, whose
metrics are on a validation set; ours are on the test set. Seconds are the wall time of one call of
the row: every seed, training and measurement. A row that was stopped and resumed counts only the
last call. A row without seconds shared the machine with other work."""

NOTES = """Known limits of these rows:

- importance samples with a star weigh every fifth test image. 100 samples weigh all images, and the
  mean is corrected by what more samples gain on that fifth.
- conv has one seed, and one of the 8 channels of its latent is dead.
- sparse-l1 trains for 100 epochs, the *simple* that its activations are compared with for 50.
- one-class: its net and scores were chosen on the test images of the digits 2, 5 and 8.
- vae-nll trains for 180 epochs, the published model for 3280.
- logistic-pca-optimum solves for the latent of each image; logistic-pca has a linear encoder."""

PICTURES = {
    "vae2-manifold.png": "vae2: images decoded from a grid of latents, even under the prior",
    "vae2-latents.png": "vae2: latents of the 10,000 test images, colored by digit",
    "denoise.png": "denoise: noisy test images, their reconstructions, the clean images",
    "conv-reconstructions.png": "conv: test images, reconstructions, differences",
    "conv-latents.png": "conv: latents of ten test images, by channel",
    "gradient-snr.png": "gradient-snr: signal-to-noise ratios by group of parameters",
}


@dataclass(frozen=True, kw_only=True)
class Options:
    rows: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """By default all of them."""
    quick: bool = False
    """Only try whether rows run: one epoch of a few digits."""
    long: bool = False
    """Train as long as published those rows that train less by default: for hours or days."""
    table: bool = False
    """Only write the page of earlier results."""
    data_dir: str | None = None
    """The folder of prepared data sets; by default $AE_JAX_DATA or that of TFDS."""
    fashion_dir: str | None = None
    """The folder of Fashion-MNIST if it is another one (also of idx .gz files)."""
    static_dir: str | None = None
    """The folder or file of static binarized MNIST if it is another one."""
    runs: Path = Path("runs/reproduce")
    """The folder for run directories."""
    results: Path = RESULTS
    """The folder for results."""

    def __post_init__(self) -> None:
        for row in self.rows:
            if row not in ROWS:
                raise ValueError(f"no row {row!r}: {nearest(row, ROWS)}")
        if self.quick and self.long:
            raise ValueError("--quick, --long: choose one")
        for row in self.rows or ROWS:
            longer = [name for name in ROWS if ROWS[name].long]
            needs = f"trains no longer with --long: choose from {', '.join(longer)}"
            require(not self.long or ROWS[row].long, "row", row, needs)


def main(argv: Sequence[str]) -> None:
    about = f"{__doc__}\nrows: {', '.join(ROWS)}"
    options = parse_options(argv, Options, prog="python -m experiments.reproduce", about=about)
    dirs: dict[str, str | None] = dict.fromkeys(SHAPES, options.data_dir)
    dirs["fashion_mnist"] = options.fashion_dir or options.data_dir
    dirs["static_mnist"] = options.static_dir or options.data_dir
    if not options.table:
        with tempfile.TemporaryDirectory() as scratch:
            runs = Path(scratch) if options.quick else options.runs
            results = Path(scratch) if options.quick else options.results
            runs, results = writable_folder(runs), writable_folder(results)
            for row in options.rows or ROWS:
                result = run_row(row, Setup(dirs, runs, results, options.quick, options.long))
                file = results / f"{row}.json"
                file.write_text(json.dumps(result, indent=2) + "\n")
                print(_line(row, result), flush=True)
    if not options.quick:
        text = page(user_path(options.results))  # before a folder is made
        file = writable_file(options.results / "README.md")
        file.write_text(text)
        print(f"wrote {file}")


def run_row(name: str, setup: Setup) -> dict[str, Any]:
    """All seeds of one row, JSON-ready. A quick one runs a single seed."""
    row, began = ROWS[name], time.perf_counter()
    seeds = range(1 if setup.quick else row.seeds)
    each = [row.run(setup, name, seed) for seed in seeds]
    return {
        "metrics": {key: [metrics[key] for metrics in each] for key in each[0]},
        "seeds": list(seeds),
        **({"long": True} if setup.long else {}),
        "seconds": round(time.perf_counter() - began, 1),
        "device": f"{device_name()}, {os.cpu_count()} CPU cores",
        "jax": jax.__version__,
    }


def page(results: Path) -> str:
    """The Markdown page of all results in this folder."""
    results_of = _results(results)
    parts = [INTRO, f"Measured on {_machines(results_of)}.", table(results), NOTES]
    for name, result in results_of.items():
        more = ROWS[name].page
        if more is not None:
            parts.append(more(result["metrics"]).rstrip("\n"))
    shown = {file: text for file, text in PICTURES.items() if (results / file).exists()}
    if shown:
        parts.append("## Pictures")
        parts += [f"{text}:\n\n![{text}]({file})" for file, text in shown.items()]
    return "\n\n".join(parts) + "\n"


def table(results: Path) -> str:
    """The results as a Markdown table, of the rows that have been run."""
    lines = [
        "| row | setting | published | goal | ours | other metrics | seconds |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, result in _results(results).items():
        row = ROWS[name]
        published = row.published if row.source == "-" else f"{row.published} ({row.source})"
        ours, *others = _metrics(result, row.shown)
        setting = row.setting + (" (trained as long as published)" if result.get("long") else "")
        cells = [name, setting, published, row.reach, ours, ", ".join(others)]
        lines.append("| " + " | ".join([*cells, _time(result["seconds"])]) + " |")
    return "\n".join(lines)


def _time(seconds: float | None) -> str:
    """None is the time of a row that shared the machine with other work."""
    return "-" if seconds is None else f"{seconds:,}"


def _results(folder: Path) -> dict[str, dict[str, Any]]:
    """The results in this folder, by row."""
    files = {name: folder / f"{name}.json" for name in ROWS}
    results = {name: json.loads(f.read_text()) for name, f in files.items() if f.exists()}
    require(bool(results), "--results", str(folder), "has no result of any row")
    return results


def _machines(results: dict[str, dict[str, Any]]) -> str:
    """The machine of most rows, then the other machines with their rows."""
    rows: dict[str, list[str]] = {}
    for name, result in results.items():
        rows.setdefault(f"{result['device']}, jax {result['jax']}", []).append(name)
    most, *others = sorted(rows, key=lambda machine: -len(rows[machine]))
    return "; ".join([most, *(f"{', '.join(rows[other])} on {other}" for other in others)])


def _metrics(result: dict[str, Any], shown: int | None) -> list[str]:
    """The first metric as mean ± half the spread over seeds, then the others by name."""
    parts = []
    for i, (key, values) in enumerate(list(result["metrics"].items())[:shown]):
        mean = sum(values) / len(values)
        spread = f" ± {(max(values) - min(values)) / 2:.2g}" if len(values) > 1 else ""
        number = f"{mean:.4g}{spread}"
        parts.append(f"{key.replace('_', ' ')} {number}" if i else f"**{mean:.4g}**{spread}")
    return parts


def _line(row: str, result: dict[str, Any]) -> str:
    metrics = ", ".join(_metrics(result, ROWS[row].shown)).replace("**", "")
    return f"{row}: {metrics} (goal: {ROWS[row].reach}; {result['seconds']} s)"


if __name__ == "__main__":
    run_main(main)
