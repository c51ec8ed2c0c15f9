"""Figures of decoded latents: samples, the manifold, interpolations and traversals.

Models whose latents do not fill R^n (see ``geodesic`` of `core.Autoencoder`) interpolate along
their own shortest paths. They decode a latent beside their space, as traversals and fitted
densities make, as its projection.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array
from matplotlib.figure import Figure

from ae_jax import plots
from ae_jax.core import Batch, Variables, as_floats
from ae_jax.data.real import drawn_range
from ae_jax.evaluation.batches import in_batches
from ae_jax.evaluation.paths import spherical, straight, traversal
from ae_jax.evaluation.tasks.subject import Subject

PAIRS = 4  # of test examples to interpolate
STEPS = 9
TRAVERSED = 10  # dimensions
Path = Callable[[np.ndarray, np.ndarray, int], np.ndarray]
TAIL = 0.01  # share of the latents beyond each end of a traversal


def decode(subject: Subject, latents: np.ndarray) -> np.ndarray:
    """Decode flat latents [N, K] to examples [N, *event_shape], in the units of the data."""

    def fn(variables: Variables, batch: Batch) -> Array:
        return subject.ae.decode(variables, batch["x"])

    z = np.float32(latents).reshape(-1, *subject.latent_shape)
    decoded: np.ndarray = in_batches(fn, subject.variables, {"x": z})
    return decoded


def decode_all(subject: Subject, latents: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """`decode` of several sets of latents, compiled once."""
    ends = np.cumsum([len(each) for each in latents.values()])
    images = np.split(decode(subject, np.concatenate(list(latents.values()))), ends[:-1])
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
    """What draws each figure: interpolations, traversals, and the manifold of a 2-D prior.

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
    return figures


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
    """The latents of a test example, changed in one dimension at a time, largest weight first."""
    at = int(np.random.default_rng(subject.seed).integers(len(subject.test_latents)))
    shares = np.linspace(TAIL, 1 - TAIL, STEPS)
    paths = {}
    for k in np.argsort(-weight, kind="stable")[:TRAVERSED]:
        if subject.ae.method("prior_quantile") is not None:
            u = jnp.tile(jnp.float32(shares)[:, None], len(weight))
            # Of the module itself: in float32, whatever the model computes in.
            apply = subject.ae.module.apply
            quantiles: Any = apply(subject.variables, u, method="prior_quantile")
            values = np.asarray(quantiles[:, k])
        else:
            low, high = np.quantile(subject.train_latents[:, k], (TAIL, 1 - TAIL))
            values = np.linspace(low, high, STEPS)
        paths[f"z{k}: {weight[k]:.2g}"] = traversal(subject.test_latents[at], k, values)
    title = f"traversals of the latents of test example {at}, with the {unit} of each dimension"
    if subject.ae.method("geodesic") is not None:
        title += ", projected"
    rows = decode_all(subject, paths)
    return plots.image_rows(rows, count=STEPS, title=title, limits=drawn_range(subject.test))
