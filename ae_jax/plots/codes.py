"""Codes: scatter plots, the manifold of a 2-D code, codes as images."""

from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.transforms import Bbox
from numpy.typing import ArrayLike

from ae_jax.plots.figure import MARKERS, PALETTE, new_figure, tidy
from ae_jax.plots.images import CELL, as_floats, as_images, centres, draw, grid_figure

MAX_CLASSES = 2 * len(PALETTE)


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
    title says how much of the variance these hold), codes of size 1 as one strip a class, or as a
    histogram. Spatial codes `[N, H, W, C]` are flattened.

    Args:
        z: `[N, ...]`, finite codes.
        label: `[N]`. Up to 20 different integers or strings are drawn as classes, other numbers
            on a continuous scale of colours.
        class_names: the names of the integer classes 0, 1, ...
        title: printed above the points.
        max_points: of more codes than this, so many are drawn, evenly spaced over the rows.
    """
    z = as_floats(z)
    z = z.reshape(len(z), -1)
    if not np.isfinite(z).all():
        raise ValueError("z must be finite, got NaN or infinity: has the training diverged?")
    label = None if label is None else np.asarray(label)
    if label is not None and label.shape != (len(z),):
        raise ValueError(f"label must have shape ({len(z)},), one for each code, got {label.shape}")
    # A random order, so that no class covers the others.
    order = np.linspace(0, len(z) - 1, min(len(z), max_points)).astype(int)
    order = np.random.default_rng(0).permutation(order)
    z, label = z[order], None if label is None else label[order]
    fig = new_figure(6.4, 5.0)
    ax = fig.add_subplot()
    fig.set_label(f"{title}: {len(z)} codes of size {z.shape[1]}")
    x_name, y_name = "$z_1$", "$z_2$"
    if z.shape[1] > 2:
        z, parts = _principal_components(z)
        title = f"{title}: two principal components, {parts.sum():.0%} of the variance"
        x_name, y_name = (f"component {k} ({part:.0%})" for k, part in enumerate(parts, start=1))
    ax.set_title(title, fontsize=11)
    ax.set_xlabel(x_name)
    tidy(ax)
    classes = _classes(label)
    names = [str(c) if class_names is None else str(class_names[c]) for c in classes]
    if z.shape[1] == 1 and label is None:
        ax.hist(z[:, 0], bins=50, color=PALETTE[0])
        ax.set_ylabel("codes")
    elif z.shape[1] == 1 and not names:
        _points(fig, ax, np.column_stack([z, label]), None, classes)
        ax.set_ylabel("label")
    elif z.shape[1] == 1:
        strip = np.searchsorted(classes, label) + np.random.default_rng(1).uniform(
            -0.4, 0.4, len(z)
        )
        _points(fig, ax, np.column_stack([z, strip]), label, classes)
        ax.set_yticks(range(len(names)), names)
    else:
        ax.set_ylabel(y_name)
        _points(fig, ax, z, label, classes)
        _name_clouds(fig, ax, z, label, classes, names)
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
    limits: tuple[float, float] = (0.0, 1.0),
) -> Figure:
    """Images `[n * n, ...]` decoded from `manifold_codes(n, tail=tail)`, on the plane of codes.

    `limits` are the values drawn as black and as white.
    """
    images = as_images(images)
    n = round(len(images) ** 0.5)
    if n < 2 or n * n != len(images):
        raise ValueError(f"images must be a square grid of n * n >= 4 images, got {len(images)}")
    fig, ax = grid_figure(images, n, cell=min(CELL, 8 / n))
    draw(ax, images, limits=limits, columns=n)
    values = manifold_codes(n, tail=tail)[:n, 0]
    marks = np.unique(np.linspace(0, n - 1, min(n, 7)).round().astype(int))
    texts = [f"{value:.1f}" for value in values[marks].round(1) + 0.0]  # no "-0.0"
    ax.set_xticks(centres(images, n)[marks], texts)
    ax.set_yticks(centres(images, n, axis=0)[n - 1 - marks], texts)
    ax.set_xlabel("$z_1$")
    ax.set_ylabel("$z_2$")
    ax.set_title(title, fontsize=11)
    fig.set_label(f"{title}: images decoded from a {n} x {n} grid of codes")
    return fig


def code_images(z: ArrayLike, *, count: int = 10, labels: Sequence[object] | None = None) -> Figure:
    """Spatial codes `[N, H, W, C]`, each as one H x (C W) image: its channels side by side.

    Args:
        z: the codes; the first `count` are drawn, one below the other.
        labels: `[N]`, printed beside them.
    """
    z = as_floats(z)[:count]
    if z.ndim != 4:
        raise ValueError(f"z must be [N, H, W, C], got shape {z.shape}")
    n, h, w, c = z.shape
    strips = z.transpose(0, 1, 3, 2).reshape(n, h, c * w)
    fig, ax = grid_figure(strips, 1, cell=6.0)
    limits = min(0.0, float(strips.min())), float(strips.max())
    drawn = draw(ax, strips, limits=limits, columns=1, cmap="viridis")
    for channel in range(1, c):
        ax.axvline(channel * w - 0.5, color="white", linewidth=1)
    ax.set_xticks((np.arange(c) + 0.5) * w - 0.5, [str(channel) for channel in range(c)])
    ax.set_xlabel("channel", fontsize=9)
    if labels is not None:
        ax.set_yticks(centres(strips, axis=0), [str(label) for label in labels[:n]])
    fig.colorbar(drawn, ax=ax, fraction=0.03, pad=0.01, aspect=30)
    ax.set_title(f"{h} x {w} x {c} codes of {n} examples", fontsize=11)
    fig.set_label(f"The codes of {n} examples as {h} x {c * w} images")
    return fig


def _classes(label: np.ndarray | None) -> np.ndarray:
    """The distinct labels if they are to be drawn as classes, else nothing."""
    if label is None or label.dtype.kind == "f":
        return np.empty(0)
    classes = np.unique(label)
    if len(classes) <= MAX_CLASSES:
        return classes
    if label.dtype.kind in "US":
        raise ValueError(f"at most {MAX_CLASSES} classes can be told apart, got {len(classes)}")
    return np.empty(0)


def _points(
    fig: Figure, ax: Axes, points: np.ndarray, label: np.ndarray | None, classes: np.ndarray
) -> None:
    size = float(np.clip(20_000 / len(points), 3, 30))
    style = {"s": size, "linewidths": 0, "alpha": 0.8}
    if len(classes):
        index = np.searchsorted(classes, label)
        for turn in range(-(-len(classes) // len(PALETTE))):  # beyond ten classes, other markers
            now = index // len(PALETTE) == turn
            colors = np.array(PALETTE)[index[now] % len(PALETTE)]
            ax.scatter(*points[now].T, c=colors, marker=MARKERS[turn], **style)
    elif label is None:
        ax.scatter(*points.T, color=PALETTE[0], **style)
    else:
        drawn = ax.scatter(*points.T, c=label, cmap="viridis", **style)
        fig.colorbar(drawn, ax=ax, label="label", fraction=0.05, pad=0.02).solids.set_alpha(1)


def _name_clouds(
    fig: Figure,
    ax: Axes,
    points: np.ndarray,
    label: np.ndarray | None,
    classes: np.ndarray,
    names: list[str],
) -> None:
    """A legend, and each class's name at its median, as far as there is room for it.

    The names are for readers who cannot tell the colours apart.
    """
    for index, name in enumerate(names):
        turn, color = divmod(index, len(PALETTE))
        ax.scatter([], [], color=PALETTE[color], marker=MARKERS[turn], s=30, label=name)
    if names:
        fig.legend(loc="outside right center", frameon=False)
    fig.draw_without_rendering()  # settles the layout, so that texts know their places
    boxes: list[Bbox] = []
    for value, name in zip(classes, names, strict=True):
        x, y = np.median(points[label == value], axis=0)
        outline = [withStroke(linewidth=3, foreground="white")]
        text = ax.text(x, y, name, ha="center", va="center", weight="bold", path_effects=outline)
        box = text.get_window_extent()
        if box.count_overlaps(boxes):
            text.remove()
        else:
            boxes.append(box)


def _principal_components(z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The codes on their first two principal axes `[N, 2]`, and the axes' parts of the variance."""
    z = z - z.mean(axis=0)
    _, sizes, axes = np.linalg.svd(z, full_matrices=False)
    variances = sizes**2
    return z @ axes[:2].T, variances[:2] / (variances.sum() or 1.0)
