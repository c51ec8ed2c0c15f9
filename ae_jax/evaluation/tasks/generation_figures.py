"""Pictures of decoded codes: samples, the manifold, interpolations and traversals."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array
from matplotlib.figure import Figure

from ae_jax import plots
from ae_jax.core import Batch, Variables, as_floats
from ae_jax.evaluation.batches import in_batches
from ae_jax.evaluation.paths import spherical, straight, traversal
from ae_jax.evaluation.tasks.subject import Subject

PAIRS = 4  # of test examples that are interpolated between
STEPS = 9
TRAVERSED = 10  # code dimensions
TAIL = 0.01  # of the codes lies beyond either end of a traversal


def decode(subject: Subject, codes: np.ndarray) -> np.ndarray:
    """What flat codes [N, K] stand for, in the units of the data: [N, *event_shape]."""

    def fn(variables: Variables, batch: Batch) -> Array:
        return subject.ae.decode(variables, batch["x"])

    codes = np.float32(codes).reshape(-1, *subject.latent_shape)
    found: np.ndarray = in_batches(fn, subject.variables, {"x": codes})
    return found


def decode_all(subject: Subject, codes: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """`decode` of several sets of codes, compiled once."""
    ends = np.cumsum([len(each) for each in codes.values()])
    images = np.split(decode(subject, np.concatenate(list(codes.values()))), ends[:-1])
    return dict(zip(codes, images, strict=True))


def draw_samples(subject: Subject, images: Mapping[str, np.ndarray]) -> dict[str, Figure]:
    """A grid of images by the density that their codes are from; the first one is the model's."""
    limits = _limits(subject)
    return {
        "generation-samples" + (f"-{name}" if place else ""): plots.samples(
            each, title=f"samples: {name}", limits=limits
        )
        for place, (name, each) in enumerate(images.items())
    }


def draw_paths(subject: Subject, weight: np.ndarray, unit: str) -> dict[str, Figure]:
    """Interpolations between test examples; traversals of the code dimensions whose `weight` [K],
    in `unit`, is largest; the manifold of a prior of two dimensions."""
    figures = {
        "generation-interpolations": _interpolations(subject),
        "generation-traversals": _traversals(subject, weight, unit),
    }
    if subject.ae.method("prior_quantile") is not None and len(weight) == 2:
        grid = decode(subject, plots.manifold_codes())
        figures["generation-manifold"] = plots.manifold(grid, limits=_limits(subject))
    return figures


def _interpolations(subject: Subject) -> Figure:
    """From one test example to another: both of them, and between them what is decoded."""
    count = min(PAIRS, len(subject.test["x"]) // 2)
    chosen = np.random.default_rng(subject.seed).permutation(len(subject.test["x"]))[: 2 * count]
    x, z = np.asarray(as_floats(subject.test["x"][chosen])), subject.test_latents[chosen]
    paths = {
        f"{name} {pair + 1}": path(z[2 * pair], z[2 * pair + 1], STEPS)
        for pair in range(count)
        for name, path in {"straight": straight, "spherical": spherical}.items()
    }
    rows = {
        name: np.concatenate([x[at : at + 1], images, x[at + 1 : at + 2]])
        for at, (name, images) in zip(
            np.repeat(2 * np.arange(count), 2), decode_all(subject, paths).items(), strict=True
        )
    }
    title = "interpolations between test examples, which are at both ends"
    return plots.image_rows(rows, count=STEPS + 2, title=title, limits=_limits(subject))


def _traversals(subject: Subject, weight: np.ndarray, unit: str) -> Figure:
    """The code of a test example, changed in one dimension at a time, the weightiest first."""
    at = int(np.random.default_rng(subject.seed).integers(len(subject.test_latents)))
    shares = np.linspace(TAIL, 1 - TAIL, STEPS)
    paths = {}
    for k in np.argsort(-weight, kind="stable")[:TRAVERSED]:
        if subject.ae.method("prior_quantile") is not None:
            u = jnp.tile(jnp.float32(shares)[:, None], len(weight))
            quantiles: Any = subject.ae.apply(subject.variables, u, method="prior_quantile")
            values = np.asarray(quantiles[:, k])
        else:
            low, high = np.quantile(subject.train_latents[:, k], (TAIL, 1 - TAIL))
            values = np.linspace(low, high, STEPS)
        paths[f"z{k}: {weight[k]:.2g}"] = traversal(subject.test_latents[at], k, values)
    title = f"traversals of the code of test example {at}, with the {unit} of each dimension"
    rows = decode_all(subject, paths)
    return plots.image_rows(rows, count=STEPS, title=title, limits=_limits(subject))


def _limits(subject: Subject) -> tuple[float, float]:
    """The values drawn as black and as white: 0 and 1, unless the data goes beyond."""
    x = subject.test["x"]
    if x.dtype == np.uint8:
        return 0.0, 1.0
    return min(0.0, float(x.min())), max(1.0, float(x.max()))
