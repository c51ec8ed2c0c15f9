"""Figures of curves: losses over a run, error against latent size."""

from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator, StrMethodFormatter

from ae_jax.plots.figure import PALETTE, new_figure, tidy
from ae_jax.plots.latents import MARKERS

SPLIT_COLORS = {"train": PALETTE[0], "test": PALETTE[2]}

NOT_TERMS = {"step", "epoch", "split", "loss", "images_per_second"}


def loss_curves(rows: Sequence[Mapping[str, Any]], *, unit: str = "") -> Figure:
    """Training curves from the rows of `metrics.jsonl`: the loss, and the raw terms if several.

    The axis shows epochs if each split has at most one row per epoch, else steps. A panel is
    logarithmic if its values are positive and span a factor of 10. Values that are not finite are
    gaps, and the title of the panel has their number.

    Args:
        rows: dicts with `step`, `split` ("train" or "test"), `loss`, maybe `epoch` and raw terms.
        unit: the unit of the loss, for the axis ("nats per example").
    """
    if not rows:
        raise ValueError("rows is empty: the run has logged nothing yet")
    numbers = dict.fromkeys(k for row in rows for k, v in row.items() if isinstance(v, Real))
    terms = [name for name in numbers if name not in NOT_TERMS]
    panels = ["loss", *terms] if len(terms) > 1 else ["loss"]
    epochs = {(row["split"], row.get("epoch")) for row in rows}
    clock = "epoch" if len(epochs) == len(rows) and "epoch" in numbers else "step"
    across = min(len(panels), 3)
    down = -(-len(panels) // across)
    fig = new_figure(0.4 + 4.0 * across if across > 1 else 5.6, 3.2 * down)
    for place, name in enumerate(panels):
        ax = fig.add_subplot(down, across, place + 1)
        _draw_curves(ax, rows, name, clock)
        if place % across == 0:
            ax.set_ylabel(unit)
    fig.set_label(f"Training curves by {clock}: {', '.join(panels)}")
    return fig


def size_curves(
    table: Mapping[str, Mapping[int, float]], *, unit: str = "mean squared error"
) -> Figure:
    """Test error against latent size, `{name: {latent size: error}}`, on logarithmic axes."""
    if not any(table.values()):
        raise ValueError("table is empty: give at least one name with a latent size and its error")
    fig = new_figure(6.4, 4.2)
    ax = fig.add_subplot()
    for index, (name, curve) in enumerate(table.items()):
        sizes = sorted(curve)
        color, marker = PALETTE[index % len(PALETTE)], MARKERS[index % len(MARKERS)]
        errors = [curve[size] for size in sizes]
        ax.plot(sizes, errors, color=color, marker=marker, markersize=5, label=name)
    ax.set_xscale("log")
    sizes = sorted({size for curve in table.values() for size in curve})
    ax.set_xticks(sizes, [str(size) for size in sizes])
    ax.minorticks_off()
    _log_values(ax)
    ax.set_xlabel("latent size")
    ax.set_ylabel(f"test {unit}")
    tidy(ax)
    ax.legend(frameon=False)
    fig.set_label(f"Test {unit} by latent size: {', '.join(table)}")
    return fig


def gradient_curves(ratios: Mapping[str, Mapping[str, Mapping[int, float]]]) -> Figure:
    """Signal-to-noise ratios of gradients against the number of samples, on logarithmic axes.

    `ratios` is ``{estimator: {group of parameters: {K: ratio}}}``: a panel for each group.
    """
    groups = list(dict.fromkeys(group for curves in ratios.values() for group in curves))
    if not groups:
        raise ValueError("ratios is empty: give at least one estimator with a group")
    fig = new_figure(0.6 + 3.6 * len(groups), 3.6)
    for place, group in enumerate(groups):
        ax = fig.add_subplot(1, len(groups), place + 1)
        for index, (name, curves) in enumerate(ratios.items()):
            points = sorted((k, ratio) for k, ratio in curves.get(group, {}).items() if ratio > 0)
            color, marker = PALETTE[index % len(PALETTE)], MARKERS[index % len(MARKERS)]
            ax.plot(
                *zip(*points, strict=True), color=color, marker=marker, markersize=5, label=name
            )
        ax.set_xscale("log")
        ax.set_yscale("log")
        ax.set_title(group, fontsize=11)
        ax.set_xlabel("samples K")
        tidy(ax)
        if place == 0:
            ax.set_ylabel("signal-to-noise ratio")
            ax.legend(frameon=False, fontsize=9)
    fig.set_label(f"Signal-to-noise ratio of gradients by samples: {', '.join(ratios)}")
    return fig


def rate_distortion(curves: Mapping[str, Sequence[tuple[float, float, float]]]) -> Figure:
    """Distortion against rate, in nats per example: ``{name: [(beta, rate, distortion), ...]}``.

    A point on a line of slope -1, dotted, has the same ELBO as every other on it.

    Source: Alemi et al., Fixing a broken ELBO, 2018, figure 1.
    """
    if not any(curves.values()):
        raise ValueError("curves is empty: give at least one name with a point")
    fig = new_figure(6.4, 4.6)
    ax = fig.add_subplot()
    for index, (name, points) in enumerate(curves.items()):
        color, marker = PALETTE[index % len(PALETTE)], MARKERS[index % len(MARKERS)]
        points = sorted(points)
        rates, distortions = [p[1] for p in points], [p[2] for p in points]
        ax.plot(rates, distortions, color=color, marker=marker, markersize=5, label=name or None)
        for beta, rate, distortion in points:
            ax.annotate(
                f"β = {beta:g}",
                (rate, distortion),
                xytext=(5, 5),
                textcoords="offset points",
                fontsize=8,
            )
    sums = [(r + d, r, d) for points in curves.values() for _, r, d in points]
    if finite := [each for each in sums if np.isfinite(each[0])]:  # some may have diverged
        best, rate, distortion = min(finite)
        ax.axline(
            (rate, distortion), slope=-1, color="0.6", linestyle=":", label=f"ELBO {-best:.4g}"
        )
    ax.margins(x=0.1, y=0.1)
    ax.set_xlabel("rate: KL(q(z | x) || p(z)), nats per example")
    ax.set_ylabel("distortion: -log p(x | z), nats per example")
    tidy(ax)
    if ax.get_legend_handles_labels()[1]:
        ax.legend(frameon=False, fontsize=9)
    fig.set_label(f"Rate and distortion by beta: {', '.join(filter(None, curves)) or 'one model'}")
    return fig


def _draw_curves(ax: Axes, rows: Sequence[Mapping[str, Any]], name: str, clock: str) -> None:
    values = np.array([row[name] for row in rows if name in row], dtype=float)
    finite = values[np.isfinite(values)]
    for split, color in SPLIT_COLORS.items():
        points = [(row[clock], row[name]) for row in rows if row["split"] == split and name in row]
        if points:
            marker = "o" if len(points) <= 30 else ""
            label = f"{split} (last {points[-1][1]:.4g})"
            x, y = zip(*points, strict=True)
            ax.plot(x, y, color=color, marker=marker, markersize=3, label=label)
    if finite.size and finite.min() > 0 and finite.max() >= 10 * finite.min():
        _log_values(ax)
    lost = values.size - finite.size
    ax.set_title(name.replace("_", " ") + (f" ({lost} not finite)" if lost else ""), fontsize=11)
    ax.set_xlabel(clock)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    tidy(ax)
    ax.legend(frameon=False, fontsize=9)


def _log_values(ax: Axes) -> None:
    """A logarithmic y axis with readable numbers, even if it spans less than a factor of 10."""
    ax.set_yscale("log")
    low, high = ax.get_ylim()
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 300 * low else (1,)))
    ax.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    ax.yaxis.set_minor_locator(NullLocator())
