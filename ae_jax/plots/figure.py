"""Shared parts of all figures: colors, a canvas, and saving as PNG."""

import os
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

# Ten colors that stay distinct for color-blind readers (Petroff 2021, arXiv:2107.02270).
PALETTE = (
    *("#3f90da", "#ffa90e", "#bd1f01", "#94a4a2", "#832db6"),
    *("#a96b59", "#e76300", "#b9ac70", "#717581", "#92dadd"),
)

UNIT = (0.0, 1.0)


def save(fig: Figure, path: str | os.PathLike[str], *, dpi: int = 150) -> Path:
    """Write a figure as PNG, with its label as the field "Description", and return the path.

    The file is written beside `path` and then renamed, so it is never incomplete.
    """
    path = Path(os.path.expanduser(path))
    if path.suffix != ".png":
        raise ValueError(f"figures are saved as PNG: give a path that ends in .png, got {path}")
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    metadata = {"Description": str(fig.get_label())}
    try:
        fig.savefig(part, format="png", dpi=dpi, bbox_inches="tight", metadata=metadata)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    return path


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of this size in inches, with a layout in which texts do not overlap."""
    fig = Figure(figsize=(width, height), layout="compressed")
    FigureCanvasAgg(fig)
    return fig


def tidy(ax: Axes) -> None:
    """Remove the box around a plot, and draw a faint grid behind it."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(color="0.9", linewidth=0.6)
    ax.set_axisbelow(True)


def first(x: ArrayLike, count: int | None = None) -> np.ndarray:
    """The first rows of x `[N, ...]` as float32 (uint8 is divided by 255); raises if x is empty."""
    array = np.asarray(x)
    if array.ndim < 2 or array.size == 0:
        raise ValueError(f"need an array [N, ...] with something to draw, got shape {array.shape}")
    if count is not None and count < 1:
        raise ValueError(f"count must be at least 1, got {count}")
    return array[:count].astype(np.float32) / (255 if array.dtype == np.uint8 else 1)


def label_names(labels: ArrayLike | None, count: int) -> list[str]:
    """The first `count` labels as texts, or empty texts; raises `ValueError` for too few."""
    names = [""] * count if labels is None else [str(name) for name in np.asarray(labels)[:count]]
    if len(names) != count:
        raise ValueError(f"labels must name all {count} examples, got {len(names)}")
    return names
