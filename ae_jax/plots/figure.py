"""What all figures share: a canvas without pyplot, colours, and saving."""

import os
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

# Ten colours that stay distinct for colour-blind readers (Petroff 2021, arXiv:2107.02270).
PALETTE = (
    *("#3f90da", "#ffa90e", "#bd1f01", "#94a4a2", "#832db6"),
    *("#a96b59", "#e76300", "#b9ac70", "#717581", "#92dadd"),
)
MARKERS = "os^Dvphd*X"


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of that many inches, drawn by Agg, laid out so that no text overlaps."""
    fig = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(fig)
    return fig


def tidy(ax: Axes) -> None:
    """No box around the plot, and a faint grid behind it."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(color="0.9", linewidth=0.6)
    ax.set_axisbelow(True)


def save(fig: Figure, path: str | os.PathLike[str], *, dpi: int = 150) -> Path:
    """Write fig as PNG with its label as "Description", and give back the path.

    The file appears whole or not at all: it is written beside `path` and then renamed.
    """
    path = Path(path)
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
