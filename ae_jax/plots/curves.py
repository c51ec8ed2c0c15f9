"""Curves: a run's losses over time, test errors over code sizes."""

from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator, StrMethodFormatter

from ae_jax.plots.figure import MARKERS, PALETTE, new_figure, tidy

SPLIT_COLORS = {"train": PALETTE[0], "test": PALETTE[2]}
NOT_TERMS = {"step", "epoch", "split", "loss", "images_per_second"}


def loss_curves(rows: Sequence[Mapping[str, Any]], *, unit: str = "") -> Figure:
    """Training curves from the rows of `metrics.jsonl`: the loss, and every raw term if several.

    The axis counts epochs where each split has at most one row an epoch, else steps. A panel is
    logarithmic when its values are positive and span a factor of 10. Values that are not finite
    leave a gap, and the panel's title says how many there are.

    Args:
        rows: dicts with `step`, `split` ("train" or "test"), `loss`, maybe `epoch` and raw terms.
        unit: the unit of the loss, for the axis ("nats per example").
    """
    if not rows:
        raise ValueError("rows is empty: the run has logged nothing yet")
    names = dict.fromkeys(
        name for row in rows for name, value in row.items() if isinstance(value, Real)
    )
    terms = [name for name in names if name not in NOT_TERMS]
    panels = ["loss", *terms] if len(terms) > 1 else ["loss"]
    across = min(len(panels), 3)
    down = -(-len(panels) // across)
    clock = "epoch" if _counts_epochs(rows) else "step"
    fig = new_figure(0.4 + 4.0 * across if across > 1 else 5.6, 3.2 * down)
    for place, name in enumerate(panels):
        ax = fig.add_subplot(down, across, place + 1)
        _draw_curves(ax, rows, name, clock)
        ax.set_xlabel(clock)
        if place % across == 0:
            ax.set_ylabel(unit)
    fig.set_label(f"Training curves by {clock}: {', '.join(panels)}")
    return fig


def size_curves(
    table: Mapping[str, Mapping[int, float]], *, unit: str = "mean squared error"
) -> Figure:
    """Test error against code size, `{name: {code size: error}}`, on logarithmic axes."""
    if not any(table.values()):
        raise ValueError("table is empty: give at least one name with a code size and its error")
    fig = new_figure(6.4, 4.2)
    ax = fig.add_subplot()
    for index, (name, curve) in enumerate(table.items()):
        sizes = sorted(curve)
        ax.plot(
            sizes,
            [curve[size] for size in sizes],
            color=PALETTE[index % len(PALETTE)],
            marker=MARKERS[index % len(MARKERS)],
            markersize=5,
            label=name,
        )
    ax.set_xscale("log")
    sizes = sorted({size for curve in table.values() for size in curve})
    ax.set_xticks(sizes, [str(size) for size in sizes])
    ax.minorticks_off()
    _log_values(ax)
    ax.set_xlabel("code size")
    ax.set_ylabel(f"test {unit}")
    tidy(ax)
    ax.legend(frameon=False)
    fig.set_label(f"Test {unit} by code size: {', '.join(table)}")
    return fig


def _counts_epochs(rows: Sequence[Mapping[str, Any]]) -> bool:
    epochs = [(row["split"], row.get("epoch")) for row in rows]
    return len(set(epochs)) == len(rows) and all(epoch is not None for _, epoch in epochs)


def _draw_curves(ax: Axes, rows: Sequence[Mapping[str, Any]], name: str, clock: str) -> None:
    values = np.array([row[name] for row in rows if name in row], dtype=float)
    for split, color in SPLIT_COLORS.items():
        points = [(row[clock], row[name]) for row in rows if row["split"] == split and name in row]
        if points:
            marker = "o" if len(points) <= 30 else None
            label = f"{split} (last {points[-1][1]:.4g})"
            ax.plot(*zip(*points, strict=True), color=color, marker=marker, ms=3, label=label)
    finite = values[np.isfinite(values)]
    if finite.size and finite.min() > 0 and finite.max() >= 10 * finite.min():
        _log_values(ax)
    lost = values.size - finite.size
    ax.set_title(name.replace("_", " ") + (f" ({lost} not finite)" if lost else ""), fontsize=11)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    tidy(ax)
    ax.legend(frameon=False, fontsize=9)


def _log_values(ax: Axes) -> None:
    """A logarithmic y axis with readable numbers, also when it spans less than a factor of 10."""
    ax.set_yscale("log")
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    ax.yaxis.set_minor_locator(NullLocator())
