"""Figures of decoded latents: samples, the manifold, interpolations and traversals.

Models whose latents do not fill R^n (see ``geodesic`` of `core.Autoencoder`) interpolate along
their own shortest paths. They decode a latent off their space, as traversals and fitted
densities make, as its projection.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from matplotlib.figure import Figure

from ae_jax import plots
from ae_jax.core import Batch, Variables, as_floats, reconstruction
from ae_jax.data.real import drawn_range
from ae_jax.evaluation.batches import in_batches
from ae_jax.evaluation.latents import from_flat
from ae_jax.evaluation.paths import spherical, straight, traversal
from ae_jax.evaluation.tasks.subject import Subject

PAIRS = 4  # of test examples to interpolate
STEPS = 9
TRAVERSED = 10  # dimensions
Path = Callable[[np.ndarray, np.ndarray, int], np.ndarray]
LEVELS = 6  # of a hierarchy, in a figure
TAIL = 0.01  # share of the latents beyond each end of a traversal


def decode(subject: Subject, latents: np.ndarray, level: int = 1) -> np.ndarray:
    """Decode flat latents [N, K] to examples [N, *event_shape], in the units of the data.

    Of a hierarchy, latents below `level` become the centers of their priors.
    """

    def fn(variables: Variables, batch: Batch) -> Array:
        z = from_flat(batch["x"], subject.latent_shapes)
        if level == 1:
            return subject.ae.decode(variables, z)
        return reconstruction(subject.ae.apply(variables, z, level, method="sample_from"))

    z = np.asarray(latents, np.float32)
    decoded: np.ndarray = in_batches(fn, subject.variables, {"x": z})
    return decoded


def decode_all(
    subject: Subject, latents: Mapping[str, np.ndarray], level: int = 1
) -> dict[str, np.ndarray]:
    """`decode` of several sets of latents, compiled once."""
    ends = np.cumsum([len(each) for each in latents.values()])
    images = np.split(decode(subject, np.concatenate(list(latents.values())), level), ends[:-1])
    return dict(zip(latents, images, strict=True))


def draw_samples(subject: Subject, images: Mapping[str, np.ndarray]) -> dict[str, Figure]:
    """A grid of images for each density of latents; the first one is the model's."""
    limits = drawn_range(subject.test)
    return {
        "generation-samples" + (f"-{name}" if place else ""): plots.samples(
            each, title=f"samples: {name}", limits=limits
        )
        for place, (name, each) in enumerate(images.items())
    }


def paths_to_draw(
    subject: Subject, weight: np.ndarray, unit: str
) -> dict[str, Callable[[], Figure]]:
    """What draws each figure: interpolations, traversals, the manifold of a 2-D prior, and samples
    that share the upper levels of a hierarchy.

    Traversals are drawn for the latents of largest `weight` [K], which has the given `unit`.
    """
    figures: dict[str, Callable[[], Figure]] = {
        "generation-interpolations": lambda: _interpolations(subject),
        "generation-traversals": lambda: _traversals(subject, weight, unit),
    }
    if subject.ae.method("prior_quantile") is not None and len(weight) == 2:
        figures["generation-manifold"] = lambda: plots.manifold(
            decode(subject, plots.manifold_latents()), limits=drawn_range(subject.test)
        )
    if subject.ae.method("sample_from") is not None:
        figures["generation-levels"] = lambda: _levels(subject)
    return figures


def _levels(subject: Subject) -> Figure:
    """Samples that share the upper levels of one draw from the prior, row by row one level more."""
    ae, depth = subject.ae, len(subject.latent_sizes)
    kept = np.unique(np.linspace(2, depth + 1, min(depth, LEVELS)).astype(int))[::-1]

    @jax.jit
    def draw(variables: Variables, key: Array) -> list[Array]:
        first, below = jax.random.split(key)
        z = ae.apply(variables, 1, rngs={"latent": first}, method="sample")["z"]
        z, rngs = jax.tree.map(lambda a: jnp.repeat(a, STEPS, axis=0), z), {"latent": below}
        drawn = (ae.apply(variables, z, k, rngs=rngs, method="sample_from") for k in kept.tolist())
        return [reconstruction(outputs) for outputs in drawn]

    images = draw(subject.variables, jax.random.key(subject.seed))
    names = [f"{depth + 1 - level} of {depth}" for level in kept]
    rows = dict(zip(names, map(np.asarray, images), strict=True))
    title = "samples that share the upper levels of one draw: how many of them"
    return plots.image_rows(rows, count=STEPS, title=title, limits=drawn_range(subject.test))


def _interpolations(subject: Subject) -> Figure:
    """Paths from one test example to another; the ends show the examples themselves."""
    count = min(PAIRS, len(subject.test["x"]) // 2)
    if count == 0:
        raise ValueError("an interpolation needs two test examples")
    chosen = np.random.default_rng(subject.seed).permutation(len(subject.test["x"]))[: 2 * count]
    x, z = np.asarray(as_floats(subject.test["x"][chosen])), subject.test_latents[chosen]
    kinds: dict[str, Path] = {"straight": straight, "spherical": spherical}
    if subject.ae.method("geodesic") is not None:
        kinds = {"geodesic": partial(_geodesic, subject)}
    paths = {
        f"{name} {pair + 1}": path(z[2 * pair], z[2 * pair + 1], STEPS)
        for pair in range(count)
        for name, path in kinds.items()
    }
    rows = {
        name: np.concatenate([x[at : at + 1], images, x[at + 1 : at + 2]])
        for at, (name, images) in zip(
            np.repeat(2 * np.arange(count), len(kinds)),
            decode_all(subject, paths).items(),
            strict=True,
        )
    }
    title = "interpolations between test examples, which are shown at both ends"
    return plots.image_rows(rows, count=STEPS + 2, title=title, limits=drawn_range(subject.test))


def _geodesic(subject: Subject, a: np.ndarray, b: np.ndarray, steps: int) -> np.ndarray:
    """Latents on the model's own shortest path from `a` [K] to `b` [K]: [steps, K]."""
    t = jnp.linspace(0, 1, steps)[:, None]
    apply = subject.ae.module.apply  # in float32, whatever the model computes in
    path: Any = apply(subject.variables, jnp.float32(a), jnp.float32(b), t, method="geodesic")
    return np.asarray(path)


def _traversals(subject: Subject, weight: np.ndarray, unit: str) -> Figure:
    """The latents of a test example, changed in one dimension at a time, largest weight first.

    Of a hierarchy, each level has its own, the top one first, and latents below the changed one
    follow it: they are the centers of their priors.
    """
    at = int(np.random.default_rng(subject.seed).integers(len(subject.test_latents)))
    rows = dict[str, np.ndarray]()
    for level, dimensions in _traversed(subject, weight).items():
        paths = {
            name: traversal(subject.test_latents[at], k, _values(subject, k))
            for name, k in dimensions.items()
        }
        rows |= decode_all(subject, paths, level)
    title = f"traversals of the latents of test example {at}, with the {unit} of each dimension"
    if subject.ae.method("geodesic") is not None:
        title += ", projected"
    return plots.image_rows(rows, count=STEPS, title=title, limits=drawn_range(subject.test))


def _traversed(subject: Subject, weight: np.ndarray) -> dict[int, dict[str, int]]:
    """The dimensions to traverse by their names, by the level of a hierarchy (otherwise 1)."""
    if subject.ae.method("sample_from") is None:
        chosen = np.argsort(-weight, kind="stable")[:TRAVERSED]
        return {1: {f"z{k}: {weight[k]:.2g}": int(k) for k in chosen}}
    ends = np.cumsum(subject.latent_sizes)
    count = max(1, TRAVERSED // len(ends))
    levels = {}
    for level, (end, size) in enumerate(zip(ends, subject.latent_sizes, strict=True), start=1):
        own = weight[end - size : end]
        chosen = np.argsort(-own, kind="stable")[:count]
        levels[level] = {f"level {level}, z{k}: {own[k]:.2g}": int(end - size + k) for k in chosen}
    return dict(reversed(levels.items()))


def _values(subject: Subject, k: int) -> np.ndarray:
    """The values of latent `k` on a traversal: quantiles of the prior, or else of the training set
    and the steps between."""
    if subject.ae.method("prior_quantile") is None:
        low, high = np.quantile(subject.train_latents[:, k], (TAIL, 1 - TAIL))
        return np.linspace(low, high, STEPS)
    shares = np.linspace(TAIL, 1 - TAIL, STEPS)
    u = jnp.tile(jnp.float32(shares)[:, None], subject.train_latents.shape[1])
    # Of the module itself: in float32, whatever the model computes in.
    quantiles: Any = subject.ae.module.apply(subject.variables, u, method="prior_quantile")
    return np.asarray(quantiles[:, k])
