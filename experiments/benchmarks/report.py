"""Tables and pictures of measurements (lists of dicts, as `experiments.bench` writes them)."""

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
    """A row for each measurement, with ratios of ours to peers.

    Of several turns, speed, memory and the rest are those of the turn in the middle. Behind a speed
    are those of the slowest and the fastest epoch of all turns.
    """
    out = Table(title=_machine(results), title_justify="left")
    if any(result["who"] != "ae_jax" for result in results):
        out.caption = "ours over: a peer, in its row; the fastest peer of each turn, in ours"
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
    """How images/s, compile time and memory of the same measurements changed from A to B.

    Raises `ValueError` if nothing was measured in both.
    """
    a, b = _machine(before), _machine(after)
    title = "B over A" if a == b else f"B ({b}) over A ({a})"
    out = Table(title=title, title_justify="left")
    for title in ("net", "who", "images/s A", "images/s B", "ratio", "compile s", "process MB"):
        out.add_column(title, justify="right" if title not in ("net", "who") else "left")
    old = {_measured(result): result for result in before}
    for new in after:
        was = old.get(_measured(new))
        if was is None or "error" in was or "error" in new:
            continue
        a, b = was["images_per_second"], new["images_per_second"]
        changes = [
            f"{_cell(key, was.get(key))} -> {_cell(key, new.get(key))}"
            for key in ("compile_seconds", "process_megabytes")
        ]
        out.add_row(new["net"], label(new), f"{a:,}", f"{b:,}", f"{b / a:.2f}", *changes)
    if not out.rows:
        raise ValueError("nothing was measured in both on the same data, in the same batches")
    return out


def speeds(results: Sequence[Result]) -> Figure:
    """Images/s as bars, a group for each net; beside them each step under the device's roof."""
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
    """Achieved FLOP/s against FLOPs per byte, under what memory and products allow."""
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
    """Who was measured, and how it differs from float32 in a scan on one device."""
    parts = [result["who"]]
    if result["who"] == "ae_jax":
        parts += [] if result["dtype"] == "float32" else [result["dtype"]]
        parts += [] if result["mode"] == "scan" else [result["mode"]]
        parts += [] if result.get("devices", 1) == 1 else [f"x{result['devices']}"]
    return " ".join(parts)


def _measured(result: Result) -> tuple[Any, ...]:
    """What two measurements must have in common to be compared."""
    return result["net"], label(result), *map(result.get, ("batch", "dataset", "images"))


def _ratio(result: Result, results: Sequence[Result]) -> str:
    """Of a peer: how many times as fast ours is, the first of the net. Of ours: how many times as
    fast as the fastest peer of each turn. Both among those of the same dtype, if there are any.

    It is the median of the turns' ratios; behind it are the least and the most.
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
    found = f"{statistics.median(each):.2f}x"
    return found if len(each) == 1 else f"{found} ({min(each):.2f} to {max(each):.2f})"


def _cell(key: str, value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.1%}" if key == "utilization" else f"{value:,}"


def _machine(results: Sequence[Result]) -> str:
    ours = next((r for r in results if "device" in r), None)
    return "" if ours is None else f"{ours['device']}, jax {ours['jax']}"
