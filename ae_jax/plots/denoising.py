"""Figures of denoising: quality against the level of noise."""

from collections.abc import Mapping

from matplotlib.figure import Figure

from ae_jax.plots.figure import PALETTE, new_figure, tidy
from ae_jax.plots.latents import MARKERS


def noise_curves(table: Mapping[str, Mapping[str, Mapping[float, Mapping[str, float]]]]) -> Figure:
    """Panels for each measure (rows) and kind of noise (columns), with one curve per method.

    Args:
        table: ``{measure: {kind: {level: {method: value}}}}``, the same kinds for each measure.
    """
    kinds = list(next(iter(table.values()), {}))
    if not kinds:
        raise ValueError("table is empty: give at least one measure with a kind of noise")
    fig = new_figure(0.8 + 2.9 * len(kinds), 0.8 + 2.5 * len(table))
    axes = fig.subplots(len(table), len(kinds), sharex="col", sharey="row", squeeze=False)
    for row, (measure, panels) in enumerate(table.items()):
        for ax, (kind, rows) in zip(axes[row], panels.items(), strict=True):
            levels = sorted(rows)
            for index, method in enumerate(rows[levels[0]]):
                values = [rows[level][method] for level in levels]
                color, marker = PALETTE[index % len(PALETTE)], MARKERS[index % len(MARKERS)]
                ax.plot(levels, values, color=color, marker=marker, markersize=5, label=method)
            if row == 0:
                ax.set_title(kind.replace("_", " "), fontsize=11)
            if row == len(table) - 1:
                ax.set_xlabel("noise level")
                ax.set_xticks(levels, [f"{level:g}" for level in levels])
            tidy(ax)
        axes[row, 0].set_ylabel(measure)
    fig.align_ylabels(axes[:, 0])
    handles, names = axes[0, 0].get_legend_handles_labels()
    fig.legend(handles, names, loc="outside upper center", ncols=4, frameon=False)
    fig.set_label(f"{', '.join(table)} by level of {', '.join(kinds)} noise, of {', '.join(names)}")
    return fig
