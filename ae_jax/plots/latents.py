"""Figures of latents: scatter plots, the manifold, spatial latents as images."""

from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.transforms import Bbox
from numpy.typing import ArrayLike

from ae_jax.plots.figure import PALETTE, UNIT, first, label_names, new_figure, tidy
from ae_jax.plots.images import CELL, as_images, centers, draw, grid_figure

MARKERS = "os^Dvphd*X"

MAX_CLASSES = 2 * len(PALETTE)


def latent_scatter(
    z: ArrayLike,
    label: ArrayLike | None = None,
    *,
    class_names: Sequence[str] | None = None,
    title: str = "latents",
    axes: tuple[str, str] = ("$z_1$", "$z_2$"),
    max_points: int = 10_000,
) -> Figure:
    """The latents as points on a plane, colored by label.

    Latents of size 2 are drawn directly, and larger ones by their first two principal components
    (the title has their share of the variance). Latents of size 1 are one strip per class, or
    without labels a histogram. Spatial latents `[N, H, W, C]` are flattened.

    Args:
        z: `[N, ...]`, finite latents.
        label: `[N]`. Up to 20 different integers or strings are drawn as classes, other numbers
            on a continuous scale of colors.
        class_names: the names of the integer classes 0, 1, ...
        title: printed above the points.
        axes: the names of two coordinates.
        max_points: the number of drawn rows, at most; they are evenly spaced.
    """
    codes = first(z)
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

    fig = new_figure(6.4, 5.0)
    ax = fig.add_subplot()
    tidy(ax)
    fig.set_label(f"{title}: {len(codes)} latents of size {codes.shape[1]}")
    ax.set_xlabel(axes[0])
    ax.set_ylabel(axes[1])
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
        ax.set_ylabel("number of examples")
    else:
        ax.set_ylabel("label")
        height = labels if index is None else index + rng.uniform(-0.4, 0.4, len(index))
        if index is not None:
            ax.set_yticks(range(len(names)), names)
        _draw_points(fig, ax, np.column_stack([codes, height]), labels, index)
    return fig


def manifold_latents(n: int = 20, *, tail: float = 0.05) -> np.ndarray:
    """An n x n grid of 2-D latents `[n * n, 2]`, evenly spaced in the prior's probability.

    The coordinates are quantiles of the standard normal from `tail` to `1 - tail` (Kingma & Welling
    2014, appendix A). The order is reading order: the first row is the top left corner, with the
    smallest first and the largest second coordinate.
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
    """Images `[n * n, ...]` decoded from `manifold_latents(n, tail=tail)`, on the latent plane.

    `limits` are the values drawn as black and as white.
    """
    grid = as_images(first(images))
    n = round(len(grid) ** 0.5)
    if n < 2 or n * n != len(grid):
        raise ValueError(f"images must be a square grid of n * n >= 4 images, got {len(grid)}")
    fig, ax = grid_figure(grid, n, cell=min(CELL, 8 / n))
    draw(ax, grid, limits, columns=n)
    values = manifold_latents(n, tail=tail)[:n, 0]
    marks = np.unique(np.linspace(0, n - 1, min(n, 7)).round().astype(int))
    texts = [f"{value:.1f}" for value in values[marks].round(1) + 0.0]  # no "-0.0"
    ax.set_xticks(centers(grid, n)[marks], texts)
    ax.set_yticks(centers(grid, n, axis=0)[n - 1 - marks], texts)
    ax.set_xlabel("$z_1$")
    ax.set_ylabel("$z_2$")
    ax.set_title(title, fontsize=11)
    fig.set_label(f"{title}: images decoded from a {n} x {n} grid of latents")
    return fig


def latent_images(z: ArrayLike, *, count: int = 10, labels: ArrayLike | None = None) -> Figure:
    """Spatial latents `[N, H, W, C]`, each as one H x (C W) image with its channels side by side.

    Args:
        z: the latents; the first `count` are drawn, one below the other.
        count: the number of drawn examples.
        labels: `[N]`, printed beside them.
    """
    codes = first(z, count)
    if codes.ndim != 4:
        raise ValueError(f"z must be [N, H, W, C], got shape {codes.shape}")
    n, h, w, c = codes.shape
    strips = codes.transpose(0, 1, 3, 2).reshape(n, h, c * w)
    fig, ax = grid_figure(strips, 1, cell=6.0)
    limits = min(0.0, float(strips.min())), float(strips.max())
    drawn = draw(ax, strips, limits, columns=1, cmap="viridis")
    for channel in range(1, c):
        ax.axvline(channel * w - 0.5, color="white", linewidth=1)
    ax.set_xticks((np.arange(c) + 0.5) * w - 0.5, [str(channel) for channel in range(c)])
    ax.set_yticks(centers(strips, axis=0), label_names(labels, n))
    ax.set_xlabel("channel", fontsize=9)
    fig.colorbar(drawn, ax=ax, fraction=0.03, pad=0.01, aspect=30)
    ax.set_title(f"{h} x {w} x {c} latents of {n} examples", fontsize=11)
    fig.set_label(f"The latents of {n} examples as {h} x {c * w} images")
    return fig


def _classes(labels: np.ndarray | None) -> tuple[np.ndarray, np.ndarray | None]:
    """The distinct labels and the index of each point's label; None if they are not classes."""
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
    """Points `[N, 2]` in the color of their class or label, or in one color."""
    x, y = points.T
    size = float(np.clip(20_000 / len(points), 3, 30))
    if index is not None:
        turn, color = np.divmod(index, len(PALETTE))
        colors = np.array(PALETTE)[color]
        for k in np.unique(turn):  # more than ten classes repeat the colors with other markers
            rows = turn == k
            mark = MARKERS[k]
            ax.scatter(x[rows], y[rows], size, colors[rows], marker=mark, linewidths=0, alpha=0.8)
    elif labels is not None:
        drawn = ax.scatter(x, y, size, labels, linewidths=0, cmap="viridis")
        fig.colorbar(drawn, ax=ax, label="label", fraction=0.05, pad=0.02)
    else:
        ax.scatter(x, y, size, PALETTE[0], linewidths=0, alpha=0.8)


def _name_classes(
    fig: Figure, ax: Axes, points: np.ndarray, index: np.ndarray, names: list[str]
) -> None:
    """A legend, and the name of each class at its median unless it would cover another name.

    The names help readers who cannot tell the colors apart.
    """
    for number, name in enumerate(names):
        turn, color = divmod(number, len(PALETTE))
        ax.scatter([], [], s=30, color=PALETTE[color], marker=MARKERS[turn], label=name)
    fig.legend(loc="outside right center", frameon=False)
    fig.draw_without_rendering()  # computes the layout, which determines the positions of texts
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
    """The first two principal components `[N, 2]`, and their shares of the variance."""
    centered = z - z.mean(axis=0)
    _, sizes, axes = np.linalg.svd(centered, full_matrices=False)
    return centered @ axes[:2].T, sizes[:2] ** 2 / ((sizes**2).sum() or 1.0)
