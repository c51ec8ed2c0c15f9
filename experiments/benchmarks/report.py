"""Tables and figures of measurements (lists of dicts, as written by `experiments.bench`)."""

import statistics
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from rich.table import Table

from ae_jax.plots.figure import PALETTE, new_figure, tidy
from experiments.benchmarks.turns import Result, ratios

COLUMNS = {
    "images_per_second": "images/s",
    "step_ms": "ms/step",
    "compile_seconds": "compile s",
    "step_gflops": "GFLOP/step",
    "utilization": "of peak",
    "step_temporary_megabytes": "step MB",
    "process_megabytes": "process MB",
}


def table(results: Sequence[Result]) -> Table:
    """A row for each measurement, with ratios of our speed to that of other libraries.

    With several turns, the values are those of the turn of median speed. The slowest and the
    fastest epoch of all turns are in brackets.
    """
    out = Table(title=_machine(results), title_justify="left")
    if any(result["who"] != "ae_jax" for result in results):
        out.caption = "ours over: the peer of the row, or in our rows the fastest peer of each turn"
    out.add_column("net")
    out.add_column("who")
    for title in (*COLUMNS.values(), "ours over"):
        out.add_column(title, justify="right")
    for result in results:
        cells = [_cell(key, result.get(key)) for key in COLUMNS]
        if "error" in result:
            cells[0] = result["error"][:60]
        else:
            epochs = [speed for turn in result["turns"] for speed in turn]
            cells[0] += f" ({min(epochs):,} to {max(epochs):,})"
        out.add_row(result["net"], label(result), *cells, _ratio(result, results))
    return out


def comparison(before: Sequence[Result], after: Sequence[Result]) -> Table:
    """Changes of images/s, compile time and memory from A to B, for measurements in both.

    Raises `ValueError` if nothing was measured in both.
    """
    a, b = _machine(before), _machine(after)
    title = "B over A" if a == b else f"B ({b}) over A ({a})"
    out = Table(title=title, title_justify="left")
    for title in ("net", "who", "images/s A", "images/s B", "ratio", "compile s", "process MB"):
        out.add_column(title, justify="right" if title not in ("net", "who") else "left")
    old = {_measured(result): result for result in before}
    for new in after:
        earlier = old.get(_measured(new))
        if earlier is None or "error" in earlier or "error" in new:
            continue
        a, b = earlier["images_per_second"], new["images_per_second"]
        changes = [
            f"{_cell(key, earlier.get(key))} -> {_cell(key, new.get(key))}"
            for key in ("compile_seconds", "process_megabytes")
        ]
        out.add_row(new["net"], label(new), f"{a:,}", f"{b:,}", f"{b / a:.2f}", *changes)
    if not out.rows:
        raise ValueError("nothing was measured in both on the same data, in the same batches")
    return out


def speeds(results: Sequence[Result]) -> Figure:
    """Images/s as bars, grouped by net, and each step compared with the device's peak."""
    results = [r for r in results if "error" not in r]
    nets = list(dict.fromkeys(r["net"] for r in results))
    who = list(dict.fromkeys(label(r) for r in results))
    fig = new_figure(4.0 + 1.1 * len(nets) + 4.0, 4.2)
    bars, roof = fig.subplots(1, 2, width_ratios=(len(nets) + 2, 4))
    width = 0.8 / max(len(who), 1)
    for index, name in enumerate(who):
        mine = {r["net"]: r["images_per_second"] for r in results if label(r) == name}
        at = [nets.index(net) + (index - (len(who) - 1) / 2) * width for net in mine]
        color = PALETTE[index % len(PALETTE)]
        bars.bar(at, list(mine.values()), width, label=name, color=color)
    bars.set_yscale("log")
    bars.set_xticks(range(len(nets)), nets)
    bars.set_ylabel("images/s")
    tidy(bars)
    bars.legend(frameon=False, fontsize=8, ncols=3, loc="lower left", bbox_to_anchor=(0, 1))
    _draw_roof(roof, [r for r in results if r.get("step_gflops")], who)
    fig.set_label("Training speed by net, and each net's step under the device's peak")
    return fig


def _draw_roof(ax: Any, results: Sequence[Result], who: Sequence[str]) -> None:
    """Achieved FLOP/s against FLOPs per byte, with the limits of memory and of products."""
    across = np.array([0.5, 500.0])
    for dtype in dict.fromkeys(r["dtype"] for r in results):
        mine = [r for r in results if r["dtype"] == dtype]
        peak, memory = (
            float(np.median([r[key] for r in mine]))
            for key in ("peak_gflops", "peak_gigabytes_per_second")
        )
        at = np.array([across[0], peak / memory, across[1]])
        ax.plot(at, np.minimum(peak, memory * at), color="gray", linewidth=1)
        ax.text(across[1], peak, f"{dtype} product", fontsize=8, ha="right", va="bottom")
    for result in results:
        if result["step_megabytes"] is None:
            continue
        intensity = 1e3 * result["step_gflops"] / result["step_megabytes"]
        color = PALETTE[who.index(label(result)) % len(PALETTE)]
        ax.plot(intensity, result["achieved_gflops"], "o", color=color)
        ax.annotate(f" {result['net']}", (intensity, result["achieved_gflops"]), fontsize=8)
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xlabel("FLOPs per byte of a step")
    ax.set_ylabel("GFLOP/s achieved")
    tidy(ax)


def label(result: Result) -> str:
    """The library, and the settings that differ from float32 in a scan on one device."""
    parts = [result["who"]]
    if result["who"] == "ae_jax":
        parts += [] if result["dtype"] == "float32" else [result["dtype"]]
        parts += [] if result["mode"] == "scan" else [result["mode"]]
        parts += [] if result.get("devices", 1) == 1 else [f"x{result['devices']}"]
    return " ".join(parts)


def _measured(result: Result) -> tuple[Any, ...]:
    """The settings that two comparable measurements have in common."""
    return result["net"], label(result), *map(result.get, ("batch", "dataset", "images"))


def _ratio(result: Result, results: Sequence[Result]) -> str:
    """The ratio of our speed to that of a peer, as the median (and the range) over turns.

    For a peer, our speed is that of our first row of the net. For our rows, the peer is the fastest
    one of each turn. Rows of the same dtype are preferred.
    """
    ours = result["who"] == "ae_jax"
    others = [
        r
        for r in results
        if r["net"] == result["net"] and (r["who"] == "ae_jax") != ours and "error" not in r
    ]
    others = [r for r in others if r["dtype"] == result["dtype"]] or others
    if "error" in result or not others:
        return ""
    each = ratios(result, others) if ours else ratios(others[0], [result])
    ratio = f"{statistics.median(each):.2f}x"
    return ratio if len(each) == 1 else f"{ratio} ({min(each):.2f} to {max(each):.2f})"


def _cell(key: str, value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.1%}" if key == "utilization" else f"{value:,}"


def _machine(results: Sequence[Result]) -> str:
    ours = next((r for r in results if "device" in r), None)
    return "" if ours is None else f"{ours['device']}, jax {ours['jax']}"
