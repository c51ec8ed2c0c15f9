"""Figures of dictionaries: how often latents are active, and how near their directions are."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from numpy.typing import ArrayLike

from ae_jax.plots.figure import PALETTE, new_figure, tidy

BINS = 60


def density_histogram(frequencies: Mapping[str, ArrayLike], examples: int) -> Figure:
    """Histograms of log10 of the share of the examples that each latent is active for.

    Latents that are never active are in no bar: the legend counts them.

    Args:
        frequencies: shares `[W]` in [0, 1], by name.
        examples: the number of examples: no share can be between 0 and 1 / examples.
    """
    rates = {name: _rates(name, each) for name, each in frequencies.items()}
    if not rates:
        raise ValueError("frequencies is empty: give at least one name with its shares")
    edges = np.linspace(np.log10(1 / max(examples, 2)), 0.0, BINS + 1)
    names = {}
    for name, each in rates.items():
        dead = int((each == 0).sum())
        names[f"{name} ({dead} of {len(each)} never active)"] = np.log10(each[each > 0])
    sizes = [len(each) for each in rates.values()]
    fig = _histograms(names, edges, sizes)
    fig.axes[0].set_xlabel("log10 of the share of examples that a latent is active for")
    fig.set_label(f"How often latents are active: {', '.join(names)}, of {examples} examples")
    return fig


def cosine_histogram(cosines: Mapping[str, ArrayLike]) -> Figure:
    """Histograms of the largest size of a latent's cosines with other directions, `[W]` by name."""
    sizes = {name: np.abs(_rates(name, np.abs(each))) for name, each in cosines.items()}
    if not sizes:
        raise ValueError("cosines is empty: give at least one name with its cosines")
    edges = np.linspace(0.0, 1.0, BINS + 1)
    fig = _histograms(sizes, edges, [len(each) for each in sizes.values()])
    fig.axes[0].set_xlabel("largest |cosine| with another latent's decoder direction")
    fig.set_label(f"Nearest decoder directions: {', '.join(sizes)}")
    return fig


def _rates(name: str, values: ArrayLike) -> np.ndarray:
    rates = np.asarray(values, np.float64)
    if rates.ndim != 1 or not rates.size or not (rates >= 0).all() or rates.max() > 1 + 1e-5:
        raise ValueError(f"{name} must be numbers [W] in [0, 1], got shape {rates.shape}")
    return rates.clip(max=1.0)


def _histograms(named: Mapping[str, np.ndarray], edges: np.ndarray, sizes: list[int]) -> Figure:
    """Shares of all latents in each bin; the first is filled, the others are lines."""
    fig = new_figure(6.4, 3.6)
    ax = fig.add_subplot()
    for index, (name, values) in enumerate(named.items()):
        counts, _ = np.histogram(values.clip(edges[0], edges[-1]), edges)
        color = PALETTE[index % len(PALETTE)]
        share = counts / sizes[index]
        ax.stairs(
            share, edges, label=name, color=color, fill=index == 0, alpha=0.7 if index == 0 else 1
        )
    ax.set_ylabel("share of latents")
    ax.yaxis.set_major_formatter(PercentFormatter(1))
    tidy(ax)
    ax.legend(frameon=False, fontsize=9)
    return fig
