"""Figures: arrays in, a matplotlib `Figure` out, which `save` writes as PNG.

Nothing here touches pyplot or a display, so figures can be made anywhere. Images are `[N, H, W]`,
`[N, H, W, 1]` or `[N, H, W, 3]`, uint8 or floats in [0, 1]; sequences `[N, T, D]` are drawn as
images with time running down. The label of a figure says in words what it shows.

In order: images (`reconstructions`, `image_rows`, `samples`), codes (`code_scatter`,
`manifold_codes`, `manifold`, `code_images`), curves (`loss_curves`, `size_curves`), and `save`.
"""

import os
from collections.abc import Mapping, Sequence
from numbers import Real
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patheffects import withStroke
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator, StrMethodFormatter
from matplotlib.transforms import Bbox
from numpy.typing import ArrayLike

# Ten colours that stay distinct for colour-blind readers (Petroff 2021, arXiv:2107.02270).
PALETTE = (
    *("#3f90da", "#ffa90e", "#bd1f01", "#94a4a2", "#832db6"),
    *("#a96b59", "#e76300", "#b9ac70", "#717581", "#92dadd"),
)
MARKERS = "os^Dvphd*X"
MAX_CLASSES = 2 * len(PALETTE)
SPLIT_COLORS = {"train": PALETTE[0], "test": PALETTE[2]}
NOT_TERMS = {"step", "epoch", "split", "loss", "images_per_second"}
CELL = 0.85  # inches, the width of one small image
UNIT = (0.0, 1.0)


def reconstructions(
    x: ArrayLike, recon: ArrayLike, *, count: int = 10, labels: ArrayLike | None = None
) -> Figure:
    """Inputs, reconstructions and differences of the first `count` examples.

    Images and sequences make three rows, with the squared error summed over the example below
    each column. Vectors `[N, D]` and series `[N, T, 1]` make one panel of lines an example.

    Args:
        x: `[N, *event]`, the inputs.
        recon: `[N, *event]`, the reconstructions, on the scale of x.
        count: how many examples are drawn.
        labels: `[N]`, printed above the examples.
    """
    inputs, outputs = _first(x, count), _first(recon, count)
    if inputs.shape != outputs.shape:
        raise ValueError(
            f"x and recon must have the same shape, got {inputs.shape} and {outputs.shape}"
        )
    names = _names(labels, len(inputs))
    if inputs.ndim == 2 or (inputs.ndim == 3 and inputs.shape[2] == 1):
        flat = (len(inputs), -1)
        return _line_panels(inputs.reshape(flat), outputs.reshape(flat), names)
    inputs, outputs = _as_images(inputs), _as_images(outputs)
    errors = ((outputs - inputs) ** 2).reshape(len(inputs), -1).sum(axis=1)
    difference = outputs - inputs
    if difference.ndim == 4:  # one sign for each pixel of a colour image
        difference = difference.mean(axis=3)
    reach = _largest(np.abs(difference))
    low, high = float(inputs.min()), float(inputs.max())
    limits = UNIT if low >= 0 and high <= 1 else (low, high)
    fig, rows = _row_figure(inputs, ["input", "reconstruction", "difference"])
    drawn = _draw(rows[0], inputs, limits)
    _draw(rows[1], outputs, limits)
    drawn_difference = _draw(rows[2], difference, (-reach, reach), cmap="RdBu_r")
    thin, near = 0.3 / len(inputs), 0.1 / len(inputs)  # in widths of the row
    if inputs.ndim == 3:
        fig.colorbar(drawn, ax=rows[:2], fraction=thin, pad=near, aspect=24)
    fig.colorbar(drawn_difference, ax=rows[2:], fraction=thin, pad=near, aspect=12)
    rows[0].set_xticks(_centres(inputs), names)
    rows[0].xaxis.tick_top()
    decimals = max(0, 2 - int(np.floor(np.log10(_largest(errors)))))
    rows[2].set_xticks(_centres(inputs), [f"{error:.{decimals}f}" for error in errors])
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
        rows: name -> images, all of the same shape.
        count: how many images of each row are drawn.
        title: printed above the rows.
        limits: the values drawn as black and as white; those beyond look the same.
    """
    if not rows:
        raise ValueError("rows is empty: give at least one name with images")
    images = {name: _as_images(_first(row, count)) for name, row in rows.items()}
    shapes = {name: row.shape for name, row in images.items()}
    if len(set(shapes.values())) > 1:
        raise ValueError(f"all rows must have the same shape, got {shapes}")
    fig, axes = _row_figure(next(iter(images.values())), list(images))
    for ax, row in zip(axes, images.values(), strict=True):
        _draw(ax, row, limits)
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
    drawn = _as_images(_first(images))
    fig, ax = _grid_figure(drawn, min(columns, len(drawn)))
    _draw(ax, drawn, limits, columns=min(columns, len(drawn)))
    ax.set_title(title, fontsize=11)
    fig.set_label(f"{title}: {len(drawn)} images")
    return fig


def code_scatter(
    z: ArrayLike,
    label: ArrayLike | None = None,
    *,
    class_names: Sequence[str] | None = None,
    title: str = "codes",
    max_points: int = 10_000,
) -> Figure:
    """The codes as points on a plane, coloured by label.

    Codes of size 2 are drawn as they are, larger ones on their first two principal components (the
    title says how much of the variance these hold), codes of size 1 as one strip a class, or
    without labels as a histogram. Spatial codes `[N, H, W, C]` are flattened.

    Args:
        z: `[N, ...]`, finite codes.
        label: `[N]`. Up to 20 different integers or strings are drawn as classes, other numbers
            on a continuous scale of colours.
        class_names: the names of the integer classes 0, 1, ...
        title: printed above the points.
        max_points: of more codes than this, so many are drawn, evenly spaced over the rows.
    """
    codes = _first(z)
    codes = codes.reshape(len(codes), -1)
    if not np.isfinite(codes).all():
        raise ValueError("z must be finite, got NaN or infinity: has the training diverged?")
    labels = None if label is None else np.asarray(label)
    if labels is not None and labels.shape != (len(codes),):
        raise ValueError(f"label must have shape ({len(codes)},) like z, got {labels.shape}")
    # A random order, so that no class covers the others.
    rng = np.random.default_rng(0)
    order = np.linspace(0, len(codes) - 1, min(len(codes), max_points)).astype(int)
    order = rng.permutation(order)
    codes, labels = codes[order], None if labels is None else labels[order]
    classes, index = _classes(labels)
    names = [str(c) if class_names is None else class_names[int(c)] for c in classes]

    fig = _new_figure(6.4, 5.0)
    ax = fig.add_subplot()
    _tidy(ax)
    fig.set_label(f"{title}: {len(codes)} codes of size {codes.shape[1]}")
    ax.set_xlabel("$z_1$")
    ax.set_ylabel("$z_2$")
    if codes.shape[1] > 2:
        codes, parts = _principal_components(codes)
        title = f"{title}: two principal components, {parts.sum():.0%} of the variance"
        ax.set_xlabel(f"component 1 ({parts[0]:.0%})")
        ax.set_ylabel(f"component 2 ({parts[1]:.0%})")
    ax.set_title(title, fontsize=11)
    if codes.shape[1] == 2:
        _draw_points(fig, ax, codes, labels, index)
        if index is not None:
            _name_classes(fig, ax, codes, index, names)
    elif labels is None:
        ax.hist(codes[:, 0], bins=50, color=PALETTE[0])
        ax.set_ylabel("number of codes")
    else:
        ax.set_ylabel("label")
        height = labels if index is None else index + rng.uniform(-0.4, 0.4, len(index))
        if index is not None:
            ax.set_yticks(range(len(names)), names)
        _draw_points(fig, ax, np.column_stack([codes, height]), labels, index)
    return fig


def manifold_codes(n: int = 20, *, tail: float = 0.05) -> np.ndarray:
    """An n x n grid of 2-D codes `[n * n, 2]`, evenly spaced in the prior's probability.

    Each coordinate runs through the standard normal's quantiles from `tail` to `1 - tail` (Kingma
    & Welling 2014, appendix A). In reading order: the first code is the top left corner, where the
    first coordinate is smallest and the second is largest.
    """
    if n < 2 or not 0 < tail < 0.5:
        raise ValueError(f"need n >= 2 and 0 < tail < 0.5, got n = {n} and tail = {tail}")
    quantiles = [NormalDist().inv_cdf(p) for p in np.linspace(tail, 1 - tail, n)]
    across, up = np.meshgrid(quantiles, quantiles[::-1])
    return np.stack([across.ravel(), up.ravel()], axis=1).astype(np.float32)


def manifold(
    images: ArrayLike,
    *,
    tail: float = 0.05,
    title: str = "latent manifold",
    limits: tuple[float, float] = UNIT,
) -> Figure:
    """Images `[n * n, ...]` decoded from `manifold_codes(n, tail=tail)`, on the plane of codes.

    `limits` are the values drawn as black and as white.
    """
    grid = _as_images(_first(images))
    n = round(len(grid) ** 0.5)
    if n < 2 or n * n != len(grid):
        raise ValueError(f"images must be a square grid of n * n >= 4 images, got {len(grid)}")
    fig, ax = _grid_figure(grid, n, cell=min(CELL, 8 / n))
    _draw(ax, grid, limits, columns=n)
    values = manifold_codes(n, tail=tail)[:n, 0]
    marks = np.unique(np.linspace(0, n - 1, min(n, 7)).round().astype(int))
    texts = [f"{value:.1f}" for value in values[marks].round(1) + 0.0]  # no "-0.0"
    ax.set_xticks(_centres(grid, n)[marks], texts)
    ax.set_yticks(_centres(grid, n, axis=0)[n - 1 - marks], texts)
    ax.set_xlabel("$z_1$")
    ax.set_ylabel("$z_2$")
    ax.set_title(title, fontsize=11)
    fig.set_label(f"{title}: images decoded from a {n} x {n} grid of codes")
    return fig


def code_images(z: ArrayLike, *, count: int = 10, labels: ArrayLike | None = None) -> Figure:
    """Spatial codes `[N, H, W, C]`, each as one H x (C W) image: its channels side by side.

    Args:
        z: the codes; the first `count` are drawn, one below the other.
        count: how many codes are drawn.
        labels: `[N]`, printed beside them.
    """
    codes = _first(z, count)
    if codes.ndim != 4:
        raise ValueError(f"z must be [N, H, W, C], got shape {codes.shape}")
    n, h, w, c = codes.shape
    strips = codes.transpose(0, 1, 3, 2).reshape(n, h, c * w)
    fig, ax = _grid_figure(strips, 1, cell=6.0)
    limits = min(0.0, float(strips.min())), float(strips.max())
    drawn = _draw(ax, strips, limits, columns=1, cmap="viridis")
    for channel in range(1, c):
        ax.axvline(channel * w - 0.5, color="white", linewidth=1)
    ax.set_xticks((np.arange(c) + 0.5) * w - 0.5, [str(channel) for channel in range(c)])
    ax.set_yticks(_centres(strips, axis=0), _names(labels, n))
    ax.set_xlabel("channel", fontsize=9)
    fig.colorbar(drawn, ax=ax, fraction=0.03, pad=0.01, aspect=30)
    ax.set_title(f"{h} x {w} x {c} codes of {n} examples", fontsize=11)
    fig.set_label(f"The codes of {n} examples as {h} x {c * w} images")
    return fig


def loss_curves(rows: Sequence[Mapping[str, Any]], *, unit: str = "") -> Figure:
    """Training curves from the rows of `metrics.jsonl`: the loss, and every raw term if several.

    The axis counts epochs where each split has at most one row an epoch, else steps. A panel is
    logarithmic when its values are positive and span a factor of 10. Values that are not finite
    leave a gap, and the panel's title says how many there are.

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
    fig = _new_figure(0.4 + 4.0 * across if across > 1 else 5.6, 3.2 * down)
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
    """Test error against code size, `{name: {code size: error}}`, on logarithmic axes."""
    if not any(table.values()):
        raise ValueError("table is empty: give at least one name with a code size and its error")
    fig = _new_figure(6.4, 4.2)
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
    ax.set_xlabel("code size")
    ax.set_ylabel(f"test {unit}")
    _tidy(ax)
    ax.legend(frameon=False)
    fig.set_label(f"Test {unit} by code size: {', '.join(table)}")
    return fig


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


def _new_figure(width: float, height: float) -> Figure:
    """An empty figure of that many inches, drawn by Agg, laid out so that no text overlaps."""
    fig = Figure(figsize=(width, height), layout="compressed")
    FigureCanvasAgg(fig)
    return fig


def _tidy(ax: Axes) -> None:
    """No box around the plot, and a faint grid behind it."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(color="0.9", linewidth=0.6)
    ax.set_axisbelow(True)


def _first(x: ArrayLike, count: int | None = None) -> np.ndarray:
    """The first rows of x `[N, ...]` as float32, uint8 divided by 255; at least one."""
    array = np.asarray(x)
    if array.ndim < 2 or array.size == 0:
        raise ValueError(f"need an array [N, ...] with something to draw, got shape {array.shape}")
    if count is not None and count < 1:
        raise ValueError(f"count must be at least 1, got {count}")
    return array[:count].astype(np.float32) / (255 if array.dtype == np.uint8 else 1)


def _names(labels: ArrayLike | None, count: int) -> list[str]:
    names = [""] * count if labels is None else [str(name) for name in np.asarray(labels)[:count]]
    if len(names) != count:
        raise ValueError(f"labels must name all {count} examples, got {len(names)}")
    return names


def _as_images(x: np.ndarray) -> np.ndarray:
    """x as grey images `[N, H, W]` or colour images `[N, H, W, 3]`."""
    if x.ndim == 4 and x.shape[3] == 1:
        return x[..., 0]
    if x.ndim == 3 or (x.ndim == 4 and x.shape[3] == 3):
        return x
    raise ValueError(f"images must be [N, H, W], [N, H, W, 1] or [N, H, W, 3], got {x.shape}")


def _largest(values: np.ndarray) -> float:
    """The largest finite value, for a scale: 1 where there is none above 0."""
    return float(values[np.isfinite(values)].max(initial=0.0)) or 1.0


def _draw(
    ax: Axes,
    images: np.ndarray,
    limits: tuple[float, float],
    *,
    columns: int | None = None,
    cmap: str = "gray",
) -> AxesImage:
    """Draw images as one mosaic with thin gaps, in one row unless `columns` says otherwise."""
    columns = columns or len(images)
    low, high = limits
    h, w = images.shape[1:3]
    down, across = _gaps(images)
    rows = -(-len(images) // columns)
    shape = rows * (h + down) - down, columns * (w + across) - across
    if images.ndim == 4:
        mosaic = np.ones((*shape, 3), np.float32)
        images = ((images - low) / (high - low)).clip(0, 1)
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


def _centres(images: np.ndarray, count: int | None = None, *, axis: int = 1) -> np.ndarray:
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


def _inches(images: np.ndarray, columns: int, cell: float) -> tuple[float, float]:
    """The size of a drawn grid of images that are `cell` inches wide, gaps included."""
    h, w = images.shape[1:3]
    down, across = _gaps(images)
    rows = -(-len(images) // columns)
    return columns * cell * (1 + across / w), rows * cell * _height(images) * (1 + down / h)


def _grid_figure(images: np.ndarray, columns: int, *, cell: float = CELL) -> tuple[Figure, Axes]:
    width, height = _inches(images, columns, cell)
    fig = _new_figure(0.3 + width, 0.5 + height)
    return fig, fig.add_subplot()


def _row_figure(images: np.ndarray, names: list[str]) -> tuple[Figure, list[Axes]]:
    """A figure for rows like images, one below the other, and the axes with these names."""
    width, height = _inches(images, len(images), CELL)
    fig = _new_figure(2.2 + width, 0.6 + (0.1 + height) * len(names))
    axes = [fig.add_subplot(len(names), 1, row + 1) for row in range(len(names))]
    for ax, name in zip(axes, names, strict=True):
        ax.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=10)
    return fig, axes


def _line_panels(x: np.ndarray, recon: np.ndarray, names: list[str]) -> Figure:
    across = min(len(x), 5)
    down = -(-len(x) // across)
    fig = _new_figure(0.6 + 2.1 * across, 0.6 + 1.7 * down)
    axes = fig.subplots(down, across, sharex=True, sharey=True, squeeze=False).ravel()
    marker = "o" if x.shape[1] <= 20 else ""
    for ax, row, fitted, name in zip(axes, x, recon, names, strict=False):
        ax.plot(row, marker=marker, ms=2.5, lw=1.2, color=PALETTE[0], label="input")
        ax.plot(fitted, "--", marker=marker, ms=2.5, color=PALETTE[1], label="reconstruction")
        ax.plot(fitted - row, marker=marker, ms=2.5, lw=0.8, color=PALETTE[2], label="difference")
        ax.set_title(name, fontsize=9)
        ax.tick_params(labelsize=8)
        _tidy(ax)
    for ax in axes[len(x) - across : len(x)]:  # the lowest of each column
        ax.tick_params(labelbottom=True)
    for ax in axes[len(x) :]:
        ax.set_visible(False)
    fig.supxlabel("element", fontsize=9)
    lines, texts = axes[0].get_legend_handles_labels()
    fig.legend(lines, texts, loc="outside upper center", ncols=3, frameon=False)
    fig.set_label(f"Lines of {len(x)} inputs, their reconstructions and the differences")
    return fig


def _classes(labels: np.ndarray | None) -> tuple[np.ndarray, np.ndarray | None]:
    """The distinct labels and each point's place among them; none if not drawn as classes."""
    if labels is None or labels.dtype.kind == "f":
        return np.empty(0), None
    classes, index = np.unique(labels, return_inverse=True)
    if len(classes) <= MAX_CLASSES:
        return classes, index
    if labels.dtype.kind in "US":
        raise ValueError(f"at most {MAX_CLASSES} classes can be told apart, got {len(classes)}")
    return np.empty(0), None


def _draw_points(
    fig: Figure,
    ax: Axes,
    points: np.ndarray,
    labels: np.ndarray | None,
    index: np.ndarray | None,
) -> None:
    """Points `[N, 2]` in the colours of their class, of their label, or all in one."""
    x, y = points.T
    size = float(np.clip(20_000 / len(points), 3, 30))
    if index is not None:
        turn, color = np.divmod(index, len(PALETTE))
        colors = np.array(PALETTE)[color]
        for k in np.unique(turn):  # beyond ten classes, the colours again with other markers
            now = turn == k
            mark = MARKERS[k]
            ax.scatter(x[now], y[now], size, colors[now], marker=mark, linewidths=0, alpha=0.8)
    elif labels is not None:
        drawn = ax.scatter(x, y, size, labels, linewidths=0, cmap="viridis")
        fig.colorbar(drawn, ax=ax, label="label", fraction=0.05, pad=0.02)
    else:
        ax.scatter(x, y, size, PALETTE[0], linewidths=0, alpha=0.8)


def _name_classes(
    fig: Figure, ax: Axes, points: np.ndarray, index: np.ndarray, names: list[str]
) -> None:
    """A legend, and each class's name at its median, as far as there is room for it.

    The names are for readers who cannot tell the colours apart.
    """
    for number, name in enumerate(names):
        turn, color = divmod(number, len(PALETTE))
        ax.scatter([], [], s=30, color=PALETTE[color], marker=MARKERS[turn], label=name)
    fig.legend(loc="outside right center", frameon=False)
    fig.draw_without_rendering()  # settles the layout, so that texts know their places
    boxes: list[Bbox] = []
    for number, name in enumerate(names):
        x, y = np.median(points[index == number], axis=0)
        outline = [withStroke(linewidth=3, foreground="white")]
        text = ax.text(x, y, name, ha="center", va="center", weight="bold", path_effects=outline)
        box = text.get_window_extent()
        if box.count_overlaps(boxes):
            text.remove()
        else:
            boxes.append(box)


def _principal_components(z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The codes on their first two principal axes `[N, 2]`, and the axes' parts of the variance."""
    centred = z - z.mean(axis=0)
    _, sizes, axes = np.linalg.svd(centred, full_matrices=False)
    return centred @ axes[:2].T, sizes[:2] ** 2 / ((sizes**2).sum() or 1.0)


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
    _tidy(ax)
    ax.legend(frameon=False, fontsize=9)


def _log_values(ax: Axes) -> None:
    """A logarithmic y axis with readable numbers, even when it spans less than a factor of 10."""
    ax.set_yscale("log")
    low, high = ax.get_ylim()
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 300 * low else (1,)))
    ax.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    ax.yaxis.set_minor_locator(NullLocator())
