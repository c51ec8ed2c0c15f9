"""The data of a page's latent explorer: test examples, their latents, and the decoder."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.decomposition import PCA

from ae_jax.core import Autoencoder, Variables
from ae_jax.data.real import counted, drawn_range
from ae_jax.evaluation.baselines import weaknesses
from ae_jax.evaluation.latents import encode_all, from_flat
from ae_jax.evaluation.likelihood import posterior_metrics
from ae_jax.plots import drawn_as_image
from ae_jax.report.opened import Opened
from ae_jax.report.packed import drawable, pack
from ae_jax.report.program import UnsupportedError, translate

POINTS = 2_000
NUMBERS = 4_000_000
"""Maximum number of pixels, and of latents, in a page; large examples leave room for fewer."""
SLIDERS = 16
CLASSES = 20
"""Maximum number of classes with a color each; more distinct labels get a color scale."""


def explorer(opened: Opened) -> dict[str, Any]:
    """Return the explorer of a run as JSON-ready data for `explorer.js`.

    Raises `ValueError` as `explore` does.
    """
    described = {"run": str(opened.run.path), "data": opened.source, "step": opened.step}
    content = described | explore(opened.ae, opened.variables, opened.test)
    try:
        lines = weaknesses(opened.ae, opened.variables, opened.train(), opened.test)
    except (ValueError, TypeError, OSError) as error:
        lines = [f"not compared with PCA: {str(error).partition(chr(10))[0]}"]
    return content | {"weaknesses": lines}


def explore(ae: Autoencoder, variables: Variables, test: Mapping[str, Any]) -> dict[str, Any]:
    """Return the explorer of a model as JSON-ready data for `explorer.js`.

    `test` has ``"x"`` [N, *event] and optionally ``"label"`` [N]. Rows that its ``"mask"`` excludes
    are not shown, and padded steps of sequences have the mean of the real ones. Raises `ValueError`
    for a conditional model, and for latents that are not finite.
    """
    test = counted(test)
    if ae.given:
        raise ValueError("a conditional model cannot be explored: a page has no condition columns")
    ae = replace(ae, dtype=jnp.float32)  # the dtype of the page's decoder
    total, pixels = len(test["x"]), math.prod(ae.event_shape)
    latents = jax.eval_shape(
        lambda x: ae.encode(variables, x), jax.ShapeDtypeStruct((1, *ae.event_shape), jnp.float32)
    )
    numbers = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(latents))
    points = min(total, POINTS, max(2, NUMBERS // max(pixels, numbers)))
    rows = np.linspace(0, total - 1, points).astype(np.int32)
    chosen = {name: np.asarray(column[rows]) for name, column in test.items()}
    z = encode_all(ae, variables, chosen)
    if not np.isfinite(z).all():
        raise ValueError(
            "the latents of the test set are not finite: choose a step before the training diverged"
        )
    spread, measure = z.std(axis=0), "variance"
    if None not in (ae.method("posterior_kl"), ae.method("log_weight")):
        spread, measure = posterior_metrics(ae, variables, chosen)["kl"], "KL divergence"
    first = np.argsort(-spread, kind="stable")[:SLIDERS]
    images = drawable(chosen["x"], limits := drawn_range(chosen))
    try:
        decoder = translate(lambda z: ae.decode(variables, from_flat(z, latents)), (1, numbers))
        reason = None
    except UnsupportedError as error:
        decoder, reason = None, str(error)
    return {
        "total": total,
        "rows": pack(rows),
        "latents": pack(z),
        "size": z.shape[1],
        "plane": _plane(z),
        "labels": _labels(chosen.get("label")),
        "examples": pack(images),
        "shape": list(ae.event_shape),
        "pictures": drawn_as_image(ae.event_shape),
        "limits": list(limits),
        "sliders": [
            _slider(int(i), z[:, i]) for i in (sorted(first) if z.shape[1] <= SLIDERS else first)
        ],
        "order": measure,
        "mean": pack(z.mean(axis=0)),
        "decoder": decoder,
        "reason": reason,
    }


def _slider(latent: int, values: np.ndarray) -> dict[str, float]:
    low, high = float(values.min()), float(values.max())
    margin = 1.0 if low == high else 0.0  # a constant latent has no range
    return {"latent": latent, "low": low - margin, "high": high + margin}


def _plane(z: np.ndarray) -> dict[str, Any]:
    """Return the projection ``(z - mean) @ axes.T`` of latents [N, K] to a plane, and its text."""
    size = z.shape[1]
    if size <= 2 or len(z) < 2:
        axes, names = np.eye(2, size), [f"latent {i + 1}" for i in range(size)]
        about = "The two latents."
        if size > 2:
            names, about = names[:2], "The first two latents."
        if size == 1:
            names.append("")
            about = "The only latent, from left to right."
        return {"mean": [0.0] * size, "axes": axes.tolist(), "names": names, "about": about}
    with np.errstate(invalid="ignore"):  # 0 / 0 if all latents are constant
        pca = PCA(2, random_state=0).fit(z)
    shares = np.nan_to_num(pca.explained_variance_ratio_)
    return {
        "mean": pca.mean_.tolist(),
        "axes": pca.components_.tolist(),
        "names": [f"component {i + 1} ({share:.0%})" for i, share in enumerate(shares)],
        "about": f"The first two principal components of the {size} latents: "
        f"{shares.sum():.0%} of their variance.",
    }


def _labels(label: np.ndarray | None) -> dict[str, Any] | None:
    """Return ``{"names": of the classes, "index": class of each point}`` or ``{"values": ...}``."""
    if label is None or label.ndim != 1:
        return None
    classes, index = np.unique(label, return_inverse=True)
    if label.dtype.kind != "f" and len(classes) <= CLASSES:
        return {"names": [str(name) for name in classes], "index": pack(index.astype(np.int32))}
    return {"values": pack(label.astype(np.float32))} if label.dtype.kind in "iuf" else None
