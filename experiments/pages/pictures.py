"""Pictures of the Markdown pages: a strip of two results, and a bar chart of the benchmarks."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from ae_jax.plots.figure import PALETTE, new_figure, tidy
from ae_jax.spec import require

PIXELS = 28  # of a side of MNIST's images


class Grid(NamedTuple):
    """Where `experiments.reproduce` draws its small images in a picture."""

    size: tuple[int, int]
    """Of the picture."""
    left: int
    top: int
    right: int
    bottom: int
    gaps: tuple[int, int]
    """Between columns, and between rows."""
    columns: int
    rows: int


MANIFOLD = Grid((1305, 1317), 88, 45, 1290, 1247, (2, 2), 20, 20)
DENOISED = Grid((1668, 501), 118, 15, 1653, 486, (5, 12), 10, 3)


def strip(results: Path) -> Image.Image:
    """The manifold of vae2, every other row and column, beside the first digits of denoise."""
    grid = _images(results / "vae2-manifold.png", MANIFOLD)[::2, ::2]
    left = _mosaic(grid, 2 * PIXELS, gap=0)
    rows = _images(results / "denoise.png", DENOISED)[:, :5]
    size = (len(left) - 16) // 3
    right = _mosaic(rows, size, gap=8)
    height = len(right)
    between = np.full((height, 24), 255, np.uint8)
    return Image.fromarray(np.hstack([left[:height], between, right]))


def _images(path: Path, grid: Grid) -> np.ndarray:
    """The small images in a picture, [rows, columns, 28, 28]."""
    with Image.open(path) as picture:
        require(picture.size == grid.size, str(path), picture.size, f"must be {grid.size} pixels")
        pixels = np.asarray(picture.convert("L"))

    def centers(start: int, end: int, gap: int, count: int) -> np.ndarray:
        size = (end - start - (count - 1) * gap) / count
        within = (np.arange(PIXELS) + 0.5) * size / PIXELS
        return (start + np.arange(count)[:, None] * (size + gap) + within).astype(int)

    across, down = grid.gaps
    y = centers(grid.top, grid.bottom, down, grid.rows)
    x = centers(grid.left, grid.right, across, grid.columns)
    return pixels[y[:, None, :, None], x[None, :, None, :]]


def _mosaic(images: np.ndarray, size: int, gap: int) -> np.ndarray:
    """Images [rows, columns, H, W] enlarged to `size`, with white gaps between them."""
    rows, columns = images.shape[:2]
    shape = rows * (size + gap) - gap, columns * (size + gap) - gap
    out = np.full(shape, 255, np.uint8)
    for row in range(rows):
        for column in range(columns):
            image = Image.fromarray(images[row, column])
            image = image.resize((size, size), Image.Resampling.NEAREST)
            top, left = row * (size + gap), column * (size + gap)
            out[top : top + size, left : left + size] = np.asarray(image)
    return out


def ratios(tables: Mapping[str, Any]) -> Figure:
    """Bars of how many times as fast ours is as the fastest peer, by net and machine."""
    machines: dict[str, list[Mapping[str, Any]]] = {
        "Intel Xeon": [*tables["xeon-mnist"]["rows"], *tables["xeon-random"]["rows"]],
        "AMD EPYC": tables["amd"]["rows"],
    }
    nets = [row["net"] for row in machines["Intel Xeon"]]
    fig = new_figure(9.0, 3.6)
    ax = fig.add_subplot()
    width = 0.38
    for index, (machine, rows) in enumerate(machines.items()):
        over = {row["net"]: row["over"] for row in rows}
        at = np.arange(len(nets)) + (index - 0.5) * width
        _bars(ax, at, [over[net] for net in nets], width, machine, PALETTE[index])
    ax.axhline(1.0, color="0.3", linewidth=1, linestyle="--")
    ax.set_xticks(range(len(nets)), [net.replace(", ", "\n") for net in nets])
    ax.set_ylabel("ours over the fastest peer")
    ax.set_ylim(0, 2.25)
    tidy(ax)
    ax.grid(visible=False, axis="x")
    ax.legend(frameon=False, ncols=2, loc="upper right")
    fig.set_label("Training speed of ae_jax over that of the fastest of PyTorch and Keras, by net")
    return fig


def _bars(
    ax: Any, at: np.ndarray, over: Sequence[Sequence[float]], width: float, name: str, color: str
) -> None:
    median, least, most = np.array(over).T
    ax.bar(at, median, width, label=name, color=color)
    ax.errorbar(at, median, [median - least, most - median], fmt="none", ecolor="0.3", lw=1)
    for x, value in zip(at, median, strict=True):
        ax.text(x, 0.05, f"{value:.2f}", ha="center", va="bottom", fontsize=9, color="0.1",
                fontweight="bold")  # fmt: skip
