"""The data of a page's dictionary: how often latents are active, their examples and neighbors."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from ae_jax.core import Autoencoder, Variables
from ae_jax.data.real import drawn_range, real_rows
from ae_jax.evaluation.batches import some
from ae_jax.evaluation.dictionaries.examples import top_examples
from ae_jax.evaluation.dictionaries.geometry import directions_of, nearest_directions
from ae_jax.evaluation.dictionaries.metrics import dictionary_metrics
from ae_jax.evaluation.dictionaries.statistics import (
    DictionaryStatistics,
    dictionary_statistics,
)
from ae_jax.plots import drawn_as_image
from ae_jax.report.opened import Opened
from ae_jax.report.packed import as_bytes, drawable, pack

LATENTS = 512
"""Latents with examples and neighbors, at most."""
TOP = 8
"""Examples of each."""
NEIGHBORS = 5
"""Neighbors of each."""
ROWS = 50_000
"""Test examples, at most."""
ACTIVATIONS = 2**29
"""Examples times latents, at most: a wide dictionary is measured on fewer examples."""
NUMBERS = 4_000_000
"""Elements of examples and directions, at most: large ones leave room for fewer latents."""
FREQUENCIES = 2**17
"""Latents without examples whose frequency is in the page too."""
BINS = 50
CHARACTERS = 40
"""Of one word, at most."""
SHOWN = "shown"
"""A column of the data that is drawn in place of ``x``: the images behind activations, say."""


def dictionary(opened: Opened) -> dict[str, Any]:
    """Return the dictionary of a run as JSON-ready data for `dictionary.js`.

    Raises `ValueError` as `describe_dictionary` does.
    """
    described = {"run": str(opened.run.path), "data": opened.source, "step": opened.step}
    return described | describe_dictionary(
        opened.ae, opened.variables, opened.test, words=opened.words
    )


def describe_dictionary(
    ae: Autoencoder,
    variables: Variables,
    test: Mapping[str, np.ndarray],
    *,
    words: np.ndarray | None = None,
) -> dict[str, Any]:
    """Return a model with ``directions`` as JSON-ready data for `dictionary.js`.

    `test` has what the model reads, and optionally ``"label"`` and ``"shown"`` [N, ...], which is
    drawn in place of ``"x"``. Examples with `words` [N] are shown as these. Rows that ``"mask"``
    excludes do not count. The constants of this module bound the size of the page.

    Raises `ValueError` if no latent is ever active, and as `dictionary_statistics`.
    """
    columns = real_rows(test if words is None else {**test, "word of a row": words})
    words = columns.pop("word of a row", None)
    directions = directions_of(ae, variables)
    width = len(directions)
    total = len(columns["x"])
    count = min(total, ROWS, max(ACTIVATIONS // width, 1))
    rows = some({"x": np.arange(total)}, count)["x"]
    columns = {name: column[rows] for name, column in columns.items()}
    words = None if words is None else words[rows]
    sums = dictionary_statistics(ae, variables, columns)
    shown = _shown(columns, words)
    elements = 0 if shown is None else math.prod(shown.shape[1:])
    drawn = shown is columns["x"] and directions.shape[1:] == ae.event_shape
    latents = _chosen(sums, elements * (TOP + drawn))
    top = top_examples(ae, variables, columns, latents, count=TOP)
    near = nearest_directions(directions, of=latents, count=NEIGHBORS)
    used = np.unique(top.rows[top.rows >= 0])
    places = np.where(top.rows < 0, -1, np.searchsorted(used, top.rows))
    label = columns.get("label")
    whole = label is not None and label.ndim == 1 and label.dtype.kind in "iu"
    return {
        "width": width,
        "examples": sums.examples,
        "total": total,
        "metrics": dictionary_metrics(sums),
        "histogram": _histogram(sums),
        "frequencies": _floats(sums.frequency) if width <= FREQUENCIES else None,
        "latents": _ints(latents),
        "frequency": _floats(sums.frequency[latents]),
        "activation": _floats(sums.mean_activation[latents]),
        "top": TOP,
        "places": _ints(places),
        "activations": _floats(top.activations),
        "neighbors": _ints(near.indices),
        "cosines": _floats(near.cosines),
        "near": near.indices.shape[1],
        "rows": _ints(rows[used]),
        "labels": None if label is None or not whole else _ints(label[used]),
        "words": None if words is None else [_short(str(word)) for word in words[used]],
        "drawn": None if shown is None else _drawn(shown[used], drawn_range({"x": shown})),
        "directions": _directions(directions[latents]) if drawn else None,
        "sources": _sources(directions[latents]) if getattr(ae.spec, "sources", False) else None,
    }


def _shown(columns: Mapping[str, np.ndarray], words: np.ndarray | None) -> np.ndarray | None:
    """What is drawn of the examples [N, ...], or None where words say it."""
    if SHOWN in columns and columns[SHOWN].ndim > 1:
        return columns[SHOWN]
    return columns["x"] if words is None else None


def _chosen(sums: DictionaryStatistics, elements: int) -> np.ndarray:
    """The live latents that have examples in the page, the most frequent first.

    If there are too many, evenly spaced ones: the page has frequent and rare latents.
    """
    order = np.argsort(-sums.fired, kind="stable")
    live = order[: np.count_nonzero(sums.fired)]
    if not live.size:
        raise ValueError(f"no latent is active for any of {sums.examples} test examples")
    most = min(LATENTS, max(NUMBERS // max(elements, 1), 1))
    return some({"x": live}, most)["x"]


def _histogram(sums: DictionaryStatistics) -> dict[str, Any]:
    """Counts of live latents by log10 of their frequency, and the number of the others."""
    live = sums.frequency[sums.fired > 0]
    edges = np.linspace(np.log10(1 / max(sums.examples, 2)), 0.0, BINS + 1)
    counts, _ = np.histogram(np.log10(live).clip(edges[0], 0.0), edges)
    dead = len(sums.fired) - len(live)
    return {"edges": edges.tolist(), "counts": counts.tolist(), "dead": dead}


def _drawn(x: np.ndarray, limits: tuple[float, float]) -> dict[str, Any]:
    """Examples as bytes: images, or lines between `limits`."""
    pictures = drawn_as_image(x.shape[1:])
    values = drawable(x, limits)
    values = values if pictures else as_bytes(values, limits)
    return {"values": pack(values), "shape": list(x.shape[1:]), "pictures": pictures}


def _directions(directions: np.ndarray) -> dict[str, Any]:
    """Directions as bytes, each on its own scale, with 0 in the middle."""
    reach = np.abs(directions.reshape(len(directions), -1)).max(axis=1)
    reach = reach.reshape(-1, *[1] * (directions.ndim - 1))
    scaled = directions / np.where(reach > 0, reach, 1.0)
    pictures = drawn_as_image(directions.shape[1:])
    values = pack(as_bytes(scaled, (-1.0, 1.0)))
    return {"values": values, "shape": list(directions.shape[1:]), "pictures": pictures}


def _sources(directions: np.ndarray) -> dict[str, Any]:
    """Norms of the directions [L, sources, D] in each source, as shares of their sum."""
    norms = np.linalg.norm(directions, axis=2)
    total = norms.sum(1, keepdims=True)
    return {
        "count": norms.shape[1],
        "shares": _floats(norms / np.where(total > 0, total, 1.0)),
    }


def _floats(array: np.ndarray) -> dict[str, Any]:
    return pack(array.astype(np.float32))


def _ints(array: np.ndarray) -> dict[str, Any]:
    return pack(array.astype(np.int32))


def _short(word: str) -> str:
    return word if len(word) <= CHARACTERS else f"{word[: CHARACTERS - 1]}\N{HORIZONTAL ELLIPSIS}"
