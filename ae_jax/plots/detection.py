"""Figures of anomaly detection: ROC curves, and histograms of scores."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from ae_jax.plots.figure import PALETTE, new_figure, tidy


def roc_curves(curves: Mapping[str, tuple[ArrayLike, ArrayLike]]) -> Figure:
    """ROC curves by name; each is a pair of false and true positive rates, [P] in [0, 1]."""
    if not curves:
        raise ValueError("curves is empty: give at least one name with its two rates")
    fig = new_figure(7.4, 5.0)
    ax = fig.add_subplot()
    ax.plot([0, 1], [0, 1], color="0.7", linewidth=0.8, linestyle=":")
    for index, (name, (false, true)) in enumerate(curves.items()):
        style = "-" if index < len(PALETTE) else "--"
        ax.plot(false, true, color=PALETTE[index % len(PALETTE)], linestyle=style, label=name)
    ax.set_aspect("equal")
    ax.set_xlabel("share of normal examples called anomalous")
    ax.set_ylabel("share of anomalies found")
    tidy(ax)
    ax.legend(frameon=False, fontsize=9, loc="center left", bbox_to_anchor=(1.02, 0.5))
    fig.set_label(f"ROC curves: {', '.join(curves)}")
    return fig


def score_histogram(
    scores: ArrayLike,
    anomalous: ArrayLike,
    *,
    threshold: float | None = None,
    name: str = "score",
    bins: int = 60,
) -> Figure:
    """Histograms of `scores` [N] of normal and of `anomalous` [N] examples, as shares of each kind.

    The axis is logarithmic if the scores are positive and span a factor of 10.
    """
    values, mask = np.asarray(scores, float), np.asarray(anomalous, bool)
    if values.size == 0 or values.shape != mask.shape or not np.isfinite(values).all():
        raise ValueError(f"need finite scores [N] and as many labels, got shape {values.shape}")
    low, high = values.min(), values.max()
    log = low > 0 and high >= 10 * low
    edges = np.geomspace(low, high, bins + 1) if log else np.linspace(low, high, bins + 1)
    if low == high:
        edges = np.linspace(low - 0.5, high + 0.5, bins + 1)
    fig = new_figure(6.4, 3.6)
    ax = fig.add_subplot()
    for label, rows, color in (("normal", ~mask, PALETTE[0]), ("anomalous", mask, PALETTE[2])):
        if rows.any():
            # Shares of each kind, because one may be much more frequent.
            weights = np.full(rows.sum(), 1.0 / rows.sum())
            name_of = f"{label} ({rows.sum()})"
            ax.hist(
                values[rows], list(edges), weights=weights, color=color, alpha=0.6, label=name_of
            )
    if threshold is not None:
        ax.axvline(threshold, color="0.2", linewidth=1.0, linestyle="--", label="threshold")
    if log:
        ax.set_xscale("log")
    ax.set_xlabel(name)
    ax.set_ylabel("share of its kind")
    tidy(ax)
    ax.legend(frameon=False, fontsize=9)
    fig.set_label(f"Histogram of {name}, normal and anomalous examples")
    return fig
