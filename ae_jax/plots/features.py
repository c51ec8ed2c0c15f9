"""Figures of features: filters, activations of units, accuracy with few labels."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import ArrayLike

from ae_jax.plots.figure import PALETTE, new_figure, tidy
from ae_jax.plots.images import as_images, draw, grid_figure
from ae_jax.plots.latents import MARKERS


def filters(weights: ArrayLike, *, count: int = 64, columns: int = 8) -> Figure:
    """The `count` filters of largest norm, largest first, in reading order.

    Each is scaled by its largest weight: red is positive, blue negative and white 0. For three
    channels, brighter than gray is positive and darker is negative.

    Args:
        weights: `[units, h, w]`, `[units, h, w, 1]` or `[units, h, w, 3]`.
        count: the number of drawn filters, at most.
        columns: the number of filters side by side.
    """
    kernels = np.asarray(weights, np.float32)
    if kernels.ndim < 3 or kernels.size == 0:
        raise ValueError(f"weights must be [units, h, w] or [units, h, w, C], got {kernels.shape}")
    flat = kernels.reshape(len(kernels), -1)
    chosen = np.argsort(-np.linalg.norm(flat, axis=1), kind="stable")[:count]
    reach = np.abs(flat).max(axis=1).reshape(-1, *[1] * (kernels.ndim - 1))
    images = as_images((kernels / np.where(reach > 0, reach, 1))[chosen])
    zoom = -(-20 // max(images.shape[1:3]))  # keeps the gaps between filters narrow
    images = images.repeat(zoom, axis=1).repeat(zoom, axis=2)
    columns = min(columns, len(images))
    fig, ax = grid_figure(images, columns)
    ax.set_facecolor("0.8")  # the color of the gaps, because white is a weight
    draw(ax, images, (-1, 1), columns=columns, cmap="RdBu_r")
    complete = len(images) == len(kernels)
    which = f"{len(kernels)} filters" if complete else f"{len(images)} of {len(kernels)} filters"
    ax.set_title(f"{which} of the first layer", fontsize=11)
    fig.set_label(f"{which} of the first layer, those with the largest weights first")
    return fig


def unit_histograms(z: ArrayLike, names: Sequence[str], *, columns: int = 5) -> Figure:
    """A histogram for each unit of latents `z` [N, K], as percentages of the examples.

    Args:
        z: finite latents.
        names: K names of units, printed above the panels.
        columns: the number of panels side by side.
    """
    codes = np.asarray(z, np.float32)
    if codes.ndim != 2 or codes.size == 0 or codes.shape[1] != len(names):
        raise ValueError(f"z must be [N, {len(names)}] to match its names, got {codes.shape}")
    columns = min(columns, len(names))
    rows = -(-len(names) // columns)
    fig = new_figure(0.5 + 1.9 * columns, 0.4 + 1.5 * rows)
    axes = fig.subplots(rows, columns, squeeze=False, sharey=True).ravel()
    share = np.full(len(codes), 1 / len(codes))
    for ax, unit, name in zip(axes, codes.T, names, strict=False):
        ax.hist(unit, bins=40, weights=share, color=PALETTE[0])
        ax.set_title(name, fontsize=9)
        ax.tick_params(labelsize=8)
        ax.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
        ax.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
        ax.yaxis.set_major_formatter(PercentFormatter(1))
        tidy(ax)
    for ax in axes[len(names) :]:
        ax.set_visible(False)
    fig.supxlabel("activation", fontsize=9)
    fig.supylabel("examples", fontsize=9)
    fig.set_label(f"Histograms of {len(names)} units over {len(codes)} examples")
    return fig


def label_curves(table: Mapping[str, Mapping[int, tuple[float, float]]]) -> Figure:
    """Test accuracy against the number of labels, ``{features: {labels: (mean, deviation)}}``."""
    if not any(table.values()):
        raise ValueError("table is empty: give at least one name with a number of labels")
    fig = new_figure(6.0, 4.2)
    ax = fig.add_subplot()
    counts = sorted({count for curve in table.values() for count in curve})
    for index, (name, curve) in enumerate(table.items()):
        x = np.array(sorted(curve), float)
        mean, deviation = np.array([curve[count] for count in sorted(curve)]).T
        beside = x * 1.06 ** (
            index - (len(table) - 1) / 2
        )  # shifted, so that bars do not cover each other
        color, marker = PALETTE[index % len(PALETTE)], MARKERS[index % len(MARKERS)]
        ax.errorbar(
            beside, mean, deviation, color=color, marker=marker, markersize=5, capsize=3, label=name
        )
    ax.set_xscale("log")
    ax.set_xticks(counts, [str(count) for count in counts])
    ax.minorticks_off()
    ax.set_xlabel("labels")
    ax.set_ylabel("test accuracy")
    ax.yaxis.set_major_formatter(PercentFormatter(1))
    tidy(ax)
    ax.legend(frameon=False, loc="lower right")
    fig.set_label(f"Test accuracy by number of labels, with {', '.join(table)}")
    return fig
