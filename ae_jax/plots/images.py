"""Figures of images, sequences and vectors: rows, grids and reconstructions."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from numpy.typing import ArrayLike

from ae_jax.plots.figure import PALETTE, UNIT, first, label_names, new_figure, tidy

CELL = 0.85  # inches, the width of one small image


def drawn_as_image(shape: Sequence[int]) -> bool:
    """Whether examples of this shape are drawn as images, and not as lines: [H, W], [H, W, 1 or 3].

    A side of one or two pixels makes no image.
    """
    fits = len(shape) == 2 or (len(shape) == 3 and shape[2] in (1, 3))
    return fits and min(shape[:2]) > 2


def reconstructions(
    x: ArrayLike, recon: ArrayLike, *, count: int = 10, labels: ArrayLike | None = None
) -> Figure:
    """Inputs, reconstructions and differences of the first `count` examples.

    Images and sequences are drawn in three rows, with the summed squared error of each example
    below its column. Vectors `[N, D]` and series `[N, T, 1]` are drawn as lines, one panel each.

    Args:
        x: `[N, *event]`, the inputs. NaN, such as padded steps, is not drawn and does not count.
        recon: `[N, *event]`, the reconstructions, on the scale of x.
        count: the number of drawn examples.
        labels: `[N]`, printed above the examples.
    """
    inputs, outputs = first(x, count), first(recon, count)
    if inputs.shape != outputs.shape:
        raise ValueError(
            f"x and recon must have the same shape, got {inputs.shape} and {outputs.shape}"
        )
    names = label_names(labels, len(inputs))
    if inputs.ndim == 2 or (inputs.ndim == 3 and inputs.shape[2] == 1):
        flat = (len(inputs), -1)
        return _line_panels(inputs.reshape(flat), outputs.reshape(flat), names)
    inputs, outputs = as_images(inputs), as_images(outputs)
    errors = np.nansum(((outputs - inputs) ** 2).reshape(len(inputs), -1), axis=1)
    difference = outputs - inputs
    if difference.ndim == 4:  # one sign for each pixel of a color image
        difference = difference.mean(axis=3)
    reach = _largest(np.abs(difference))
    low, high = float(np.nanmin(inputs)), float(np.nanmax(inputs))
    limits = UNIT if low >= 0 and high <= 1 else (low, high)
    fig, rows = _row_figure(inputs, ["input", "reconstruction", "difference"])
    drawn = draw(rows[0], inputs, limits)
    draw(rows[1], outputs, limits)
    drawn_difference = draw(rows[2], difference, (-reach, reach), cmap="RdBu_r")
    thin, near = 0.3 / len(inputs), 0.1 / len(inputs)  # in widths of the row
    if inputs.ndim == 3:
        fig.colorbar(drawn, ax=rows[:2], fraction=thin, pad=near, aspect=24)
    fig.colorbar(drawn_difference, ax=rows[2:], fraction=thin, pad=near, aspect=12)
    rows[0].set_xticks(centers(inputs), names)
    rows[0].xaxis.tick_top()
    decimals = max(0, 2 - int(np.floor(np.log10(_largest(errors)))))
    rows[2].set_xticks(centers(inputs), [f"{error:.{decimals}f}" for error in errors])
    rows[2].set_xlabel("summed squared error", fontsize=9)
    fig.set_label(
        f"{len(inputs)} inputs, their reconstructions, and the differences between -{reach:.2g} "
        f"(blue) and {reach:.2g} (red)"
    )
    return fig


def image_rows(
    rows: Mapping[str, ArrayLike],
    *,
    count: int = 10,
    title: str | None = None,
    limits: tuple[float, float] = UNIT,
) -> Figure:
    """Rows of images by name: `{"noisy": ..., "denoised": ..., "clean": ...}`.

    Args:
        rows: images by name, all of the same shape.
        count: the number of drawn images in each row.
        title: printed above the rows.
        limits: the values drawn as black and as white; others are clipped.
    """
    if not rows:
        raise ValueError("rows is empty: give at least one name with images")
    images = {name: as_images(first(row, count)) for name, row in rows.items()}
    shapes = {name: row.shape for name, row in images.items()}
    if len(set(shapes.values())) > 1:
        raise ValueError(f"all rows must have the same shape, got {shapes}")
    fig, axes = _row_figure(next(iter(images.values())), list(images))
    for ax, row in zip(axes, images.values(), strict=True):
        draw(ax, row, limits)
    if title is not None:
        fig.suptitle(title, fontsize=11)
    fig.set_label(f"{title or 'Images'}: rows of {', '.join(images)}")
    return fig


def samples(
    images: ArrayLike,
    *,
    columns: int = 10,
    title: str = "samples",
    limits: tuple[float, float] = UNIT,
) -> Figure:
    """All images on a grid with `columns` columns, in reading order.

    `limits` are the values drawn as black and as white.
    """
    drawn = as_images(first(images))
    fig, ax = grid_figure(drawn, min(columns, len(drawn)))
    draw(ax, drawn, limits, columns=min(columns, len(drawn)))
    ax.set_title(title, fontsize=11)
    fig.set_label(f"{title}: {len(drawn)} images")
    return fig


def as_images(x: np.ndarray) -> np.ndarray:
    """x as gray images `[N, H, W]` or color images `[N, H, W, 3]`."""
    if x.ndim == 4 and x.shape[3] == 1:
        return x[..., 0]
    if x.ndim == 3 or (x.ndim == 4 and x.shape[3] == 3):
        return x
    raise ValueError(f"images must be [N, H, W], [N, H, W, 1] or [N, H, W, 3], got {x.shape}")


def _largest(values: np.ndarray) -> float:
    """The largest finite value, for a scale; 1 if no value is above 0."""
    return float(values[np.isfinite(values)].max(initial=0.0)) or 1.0


def draw(
    ax: Axes,
    images: np.ndarray,
    limits: tuple[float, float],
    *,
    columns: int | None = None,
    cmap: str = "gray",
) -> AxesImage:
    """Draw images as one mosaic with thin gaps, by default in one row."""
    columns = columns or len(images)
    low, high = limits
    h, w = images.shape[1:3]
    down, across = _gaps(images)
    rows = -(-len(images) // columns)
    shape = rows * (h + down) - down, columns * (w + across) - across
    if images.ndim == 4:
        mosaic = np.ones((*shape, 3), np.float32)
        images = np.nan_to_num((images - low) / (high - low), nan=1.0).clip(0, 1)
    else:
        mosaic = np.full(shape, np.nan, np.float32)  # not drawn
    for index, image in enumerate(images):
        top, left = index // columns * (h + down), index % columns * (w + across)
        mosaic[top : top + h, left : left + w] = image
    ax.set_xticks([])
    ax.set_yticks([])
    ax.tick_params(length=0, labelsize=9)
    ax.spines[:].set_visible(False)
    aspect = _height(images) * w / h
    return ax.imshow(mosaic, cmap, vmin=low, vmax=high, interpolation="nearest", aspect=aspect)


def centers(images: np.ndarray, count: int | None = None, *, axis: int = 1) -> np.ndarray:
    """The centers of the columns (axis 1) or rows (axis 0) of drawn images."""
    size = images.shape[1 + axis]
    return np.arange(count or len(images)) * (size + _gaps(images)[axis]) + (size - 1) / 2


def _gaps(images: np.ndarray) -> tuple[int, int]:
    """Pixels between images, down and across."""
    h, w = images.shape[1:3]
    return max(1, round(0.05 * h)), max(1, round(0.05 * w))


def _height(images: np.ndarray) -> float:
    """The drawn height of an image in units of its width; extreme shapes are squeezed."""
    h, w = images.shape[1:3]
    return float(np.clip(h / w, 1 / 8, 2))


def _inches(images: np.ndarray, columns: int, cell: float) -> tuple[float, float]:
    """The size in inches of a drawn grid of images of width `cell`, with gaps."""
    h, w = images.shape[1:3]
    down, across = _gaps(images)
    rows = -(-len(images) // columns)
    return columns * cell * (1 + across / w), rows * cell * _height(images) * (1 + down / h)


def grid_figure(images: np.ndarray, columns: int, *, cell: float = CELL) -> tuple[Figure, Axes]:
    """A figure, and its axes, for a grid of images that are `cell` inches wide."""
    width, height = _inches(images, columns, cell)
    fig = new_figure(0.3 + width, 0.5 + height)
    return fig, fig.add_subplot()


def _row_figure(images: np.ndarray, names: list[str]) -> tuple[Figure, list[Axes]]:
    """A figure for rows of images, one below the other, and its axes with these names."""
    width, height = _inches(images, len(images), CELL)
    fig = new_figure(2.2 + width, 0.6 + (0.1 + height) * len(names))
    axes = [fig.add_subplot(len(names), 1, row + 1) for row in range(len(names))]
    for ax, name in zip(axes, names, strict=True):
        ax.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=10)
    return fig, axes


def _line_panels(x: np.ndarray, recon: np.ndarray, names: list[str]) -> Figure:
    across = min(len(x), 5)
    down = -(-len(x) // across)
    fig = new_figure(0.6 + 2.1 * across, 0.6 + 1.7 * down)
    axes = fig.subplots(down, across, sharex=True, sharey=True, squeeze=False).ravel()
    marker = "o" if x.shape[1] <= 20 else ""
    for ax, row, fitted, name in zip(axes, x, recon, names, strict=False):
        ax.plot(row, marker=marker, ms=2.5, lw=1.2, color=PALETTE[0], label="input")
        ax.plot(fitted, "--", marker=marker, ms=2.5, color=PALETTE[1], label="reconstruction")
        ax.plot(fitted - row, marker=marker, ms=2.5, lw=0.8, color=PALETTE[2], label="difference")
        ax.set_title(name, fontsize=9)
        ax.tick_params(labelsize=8)
        tidy(ax)
    for ax in axes[len(x) - across : len(x)]:  # the lowest of each column
        ax.tick_params(labelbottom=True)
    for ax in axes[len(x) :]:
        ax.set_visible(False)
    fig.supxlabel("element", fontsize=9)
    lines, texts = axes[0].get_legend_handles_labels()
    fig.legend(lines, texts, loc="outside upper center", ncols=3, frameon=False)
    fig.set_label(f"Lines of {len(x)} inputs, their reconstructions and the differences")
    return fig
