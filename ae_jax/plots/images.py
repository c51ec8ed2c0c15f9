"""Rows and grids of images: reconstructions, corruptions, samples."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from numpy.typing import ArrayLike

from ae_jax.plots.figure import PALETTE, new_figure, tidy

CELL = 0.85  # inches, the width of one small image


def reconstructions(
    x: ArrayLike, recon: ArrayLike, *, count: int = 10, labels: Sequence[object] | None = None
) -> Figure:
    """Inputs, reconstructions and differences of the first `count` examples.

    Images and sequences make three rows, with the squared error summed over the example below
    each column. Vectors `[N, D]` and series `[N, T, 1]` make one panel of lines an example.

    Args:
        x: `[N, *event]`, the inputs.
        recon: `[N, *event]`, the reconstructions, on the scale of x.
        labels: `[N]`, printed above the examples.
    """
    x, recon = as_floats(x)[:count], as_floats(recon)[:count]
    if x.shape != recon.shape:
        raise ValueError(f"x and recon must have the same shape, got {x.shape} and {recon.shape}")
    names = [""] * len(x) if labels is None else [str(label) for label in labels[: len(x)]]
    if len(names) != len(x):
        raise ValueError(f"labels must name all {len(x)} examples, got {len(names)}")
    if x.ndim == 2 or (x.ndim == 3 and x.shape[2] == 1):
        return _line_panels(x.reshape(len(x), -1), recon.reshape(len(x), -1), names)
    x, recon = as_images(x), as_images(recon)
    errors = ((recon - x) ** 2).reshape(len(x), -1).sum(axis=1)
    # One sign for each pixel: the channels of a colour image are averaged.
    difference = (recon - x).mean(axis=3) if x.ndim == 4 else recon - x
    reach = float(np.abs(difference).max()) or 1.0
    limits = (0.0, 1.0) if 0 <= x.min() and x.max() <= 1 else (float(x.min()), float(x.max()))
    fig, rows = _row_figure(x, 3)
    inputs = draw(rows[0], x, limits=limits)
    draw(rows[1], recon, limits=limits)
    differences = draw(rows[2], difference, limits=(-reach, reach), cmap="RdBu_r")
    for ax, name in zip(rows, ("input", "reconstruction", "difference"), strict=True):
        _name_row(ax, name)
    if x.ndim == 3:
        fig.colorbar(inputs, ax=rows[:2], fraction=0.03, pad=0.01, aspect=24)
    fig.colorbar(differences, ax=rows[2:], fraction=0.03, pad=0.01, aspect=12)
    rows[0].set_xticks(centres(x), names)
    rows[0].xaxis.tick_top()
    decimals = max(0, 2 - int(np.floor(np.log10(errors.max() or 1.0))))
    rows[2].set_xticks(centres(x), [f"{error:.{decimals}f}" for error in errors])
    rows[2].set_xlabel("squared error, summed over the example", fontsize=9)
    fig.set_label(
        f"{len(x)} inputs, their reconstructions and the differences on a scale of ±{reach:.2g}"
    )
    return fig


def image_rows(
    rows: Mapping[str, ArrayLike],
    *,
    count: int = 10,
    title: str | None = None,
    limits: tuple[float, float] = (0.0, 1.0),
) -> Figure:
    """Rows of images by name: `{"noisy": ..., "denoised": ..., "clean": ...}`.

    Args:
        rows: name -> images, all of the same shape.
        count: how many images of each row are drawn.
        title: printed above the rows.
        limits: the values drawn as black and as white; those beyond look the same.
    """
    if not rows:
        raise ValueError("rows is empty: give at least one name with images")
    images = {name: as_images(row)[:count] for name, row in rows.items()}
    shapes = {name: row.shape for name, row in images.items()}
    if len(set(shapes.values())) > 1:
        raise ValueError(f"all rows must have the same shape, got {shapes}")
    fig, axes = _row_figure(next(iter(images.values())), len(images))
    for ax, (name, row) in zip(axes, images.items(), strict=True):
        draw(ax, row, limits=limits)
        _name_row(ax, name)
    if title is not None:
        fig.suptitle(title, fontsize=11)
    fig.set_label(f"{title or 'Images'}: rows of {', '.join(images)}")
    return fig


def samples(
    images: ArrayLike,
    *,
    columns: int = 10,
    title: str = "samples",
    limits: tuple[float, float] = (0.0, 1.0),
) -> Figure:
    """All images on a grid with `columns` columns, in reading order; `limits` as in `image_rows`."""
    images = as_images(images)
    columns = min(columns, len(images))
    fig, ax = grid_figure(images, columns)
    draw(ax, images, limits=limits, columns=columns)
    ax.set_title(title, fontsize=11)
    fig.set_label(f"{title}: {len(images)} images")
    return fig


def as_floats(x: ArrayLike) -> np.ndarray:
    """x `[N, ...]` as float32, uint8 divided by 255; there must be at least one example."""
    x = np.asarray(x)
    if x.ndim < 2 or x.size == 0:
        raise ValueError(f"need an array [N, ...] with something to draw, got shape {x.shape}")
    return x.astype(np.float32) / (255 if x.dtype == np.uint8 else 1)


def as_images(x: ArrayLike) -> np.ndarray:
    """x as grey images `[N, H, W]` or colour images `[N, H, W, 3]`."""
    x = as_floats(x)
    if x.ndim == 4 and x.shape[3] == 1:
        x = x[..., 0]
    if x.ndim == 3 or (x.ndim == 4 and x.shape[3] == 3):
        return x
    raise ValueError(f"images must be [N, H, W], [N, H, W, 1] or [N, H, W, 3], got {x.shape}")


def grid_figure(images: np.ndarray, columns: int, *, cell: float = CELL) -> tuple[Figure, Axes]:
    """A figure with one axes, for a grid of images that are `cell` inches wide."""
    rows = -(-len(images) // columns)
    fig = new_figure(0.3 + cell * columns, 0.5 + cell * _height(images) * rows)
    return fig, fig.add_subplot()


def draw(
    ax: Axes,
    images: np.ndarray,
    *,
    limits: tuple[float, float],
    columns: int | None = None,
    cmap: str = "gray",
) -> AxesImage:
    """Draw images as one mosaic with thin gaps, in one row unless `columns` says otherwise."""
    columns = columns or len(images)
    low, high = limits
    h, w = images.shape[1:3]
    down, across = _gaps(images)
    rows = -(-len(images) // columns)
    shape = (rows * (h + down) - down, columns * (w + across) - across)
    if images.ndim == 4:
        mosaic = np.ones((*shape, 3), np.float32)
        images = ((images - low) / ((high - low) or 1.0)).clip(0, 1)
    else:
        mosaic = np.full(shape, np.nan, np.float32)  # not drawn
    for index, image in enumerate(images):
        top, left = index // columns * (h + down), index % columns * (w + across)
        mosaic[top : top + h, left : left + w] = image
    ax.set_xticks([])
    ax.set_yticks([])
    ax.tick_params(length=0, labelsize=9)
    ax.spines[:].set_visible(False)
    return ax.imshow(
        mosaic,
        cmap=cmap,
        vmin=low,
        vmax=high,
        interpolation="nearest",
        aspect=_height(images) * w / h,
    )


def centres(images: np.ndarray, count: int | None = None, *, axis: int = 1) -> np.ndarray:
    """Where the columns (axis 1) or rows (axis 0) of drawn images have their centres."""
    size = images.shape[1 + axis]
    return np.arange(count or len(images)) * (size + _gaps(images)[axis]) + (size - 1) / 2


def _gaps(images: np.ndarray) -> tuple[int, int]:
    """Pixels between images, down and across."""
    h, w = images.shape[1:3]
    return max(1, round(0.05 * h)), max(1, round(0.05 * w))


def _height(images: np.ndarray) -> float:
    """The height of an image as drawn, in widths: extreme shapes are squeezed to be seen at all."""
    h, w = images.shape[1:3]
    return float(np.clip(h / w, 1 / 8, 2))


def _row_figure(images: np.ndarray, rows: int) -> tuple[Figure, list[Axes]]:
    fig = new_figure(1.8 + CELL * len(images), 0.5 + (0.1 + CELL * _height(images)) * rows)
    return fig, [fig.add_subplot(rows, 1, row + 1) for row in range(rows)]


def _name_row(ax: Axes, name: str) -> None:
    ax.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=10)


def _line_panels(x: np.ndarray, recon: np.ndarray, names: list[str]) -> Figure:
    across = min(len(x), 5)
    down = -(-len(x) // across)
    fig = new_figure(0.6 + 2.1 * across, 0.6 + 1.7 * down)
    axes = fig.subplots(down, across, sharex=True, sharey=True, squeeze=False).ravel()
    styles = {"linewidth": 1.2, "marker": "o" if x.shape[1] <= 20 else None, "markersize": 2.5}
    for ax, row, fitted, name in zip(axes, x, recon, names, strict=False):
        ax.plot(row, color=PALETTE[0], label="input", **styles)
        ax.plot(fitted, color=PALETTE[1], label="reconstruction", linestyle="--", **styles)
        ax.plot(fitted - row, color=PALETTE[2], label="difference", **(styles | {"linewidth": 0.8}))
        ax.set_title(name, fontsize=9)
        ax.tick_params(labelsize=8)
        tidy(ax)
    for ax in axes[len(x) - across : len(x)]:  # the lowest of each column
        ax.tick_params(labelbottom=True)
    for ax in axes[len(x) :]:
        ax.set_visible(False)
    fig.supxlabel("element", fontsize=9)
    fig.legend(
        *axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=3, frameon=False
    )
    fig.set_label(f"Lines of {len(x)} inputs, their reconstructions and the differences")
    return fig
