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
from ae_jax.data import load, validated
from ae_jax.data.fingerprint import fingerprint, require_unchanged
from ae_jax.data.real import counted, drawn_range
from ae_jax.data.splits import with_labels
from ae_jax.data.standardize import standardize
from ae_jax.evaluation.baselines import weaknesses
from ae_jax.evaluation.latents import encode_all, from_flat
from ae_jax.evaluation.likelihood import posterior_metrics
from ae_jax.models import Model
from ae_jax.plots import drawn_as_image
from ae_jax.report.packed import pack
from ae_jax.report.program import UnsupportedError, translate
from ae_jax.storage.runs import Run, load_run

POINTS = 2_000
NUMBERS = 4_000_000
"""Maximum number of pixels, and of latents, in a page; large examples leave room for fewer."""
SLIDERS = 16
CLASSES = 20
"""Maximum number of classes with a color each; more distinct labels get a color scale."""


def explorer(
    run: Run,
    *,
    step: int | None = None,
    data_name: str | None = None,
    data_dir: str | None = None,
    allow_changes: bool = False,
    models: Any = Model,
    ae: Autoencoder | None = None,
) -> dict[str, Any]:
    """Return the explorer of a run as JSON-ready data for `explorer.js`.

    Args:
      run: the run directory.
      step: the step of the checkpoint; by default the newest intact one.
      data_name: a data set of the same shape as the training data; by default that of the run.
      data_dir: the directory of the data set; by default that of the run.
      allow_changes: explore the data of the run even if it has changed since the training.
      models, ae: for models of your own (see `load_run`).

    Raises:
      ValueError, OSError: no checkpoint, no data, data of another shape than the model's, or data
        that has changed.
    """
    ae, state, config = load_run(run.path, step, models=models, ae=ae, data_units=False)
    test, source = _split(run, config, "test", data_name, data_dir)
    statistics = config.get("statistics")
    if statistics:
        test, source = standardize(test, statistics), f"{source}, standardized"
    shape = tuple(test["x"].shape[1:])
    if shape != ae.event_shape:
        raise ValueError(
            f"{source}: its test examples have shape {shape}, but {run.path} was trained on "
            f"{ae.event_shape}: choose a data set of that shape with data_name=NAME"
        )
    require_unchanged(
        run.path,
        config,
        {"test": fingerprint(validated(test))},
        allow_changes=allow_changes or data_name is not None,
        name=source,
    )
    described = {"run": str(run.path), "data": source, "step": int(state.step)}
    content = described | explore(ae, state.variables, test)
    try:
        train, _ = _split(run, config, "train", data_name, data_dir)
        train = standardize(train, statistics) if statistics else train
        lines = weaknesses(ae, state.variables, train, test)
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
    images = _examples(ae, chosen["x"], limits := drawn_range(chosen))
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


def _split(
    run: Run, config: Mapping[str, Any], split: str, name: str | None, folder: str | None
) -> tuple[Mapping[str, Any], str]:
    data = config.get("data")
    described = data if isinstance(data, dict) else {}
    name, folder = name or described.get("name"), folder or described.get("dir")
    if name is None:
        raise ValueError(f"{run.path} has no name of its data set: choose one with data_name=NAME")
    if not isinstance(name, str) or not isinstance(folder, str | None):
        raise ValueError(f"{run.path}/config.json: data={data!r} does not name a data set")
    if split == "train" and described.get("decode", "once") != "once":
        raise ValueError("the training images are decoded while training")
    rows, kept = load(name, split, folder), described.get("keep_labels")
    if isinstance(kept, list):  # the same rows as in training and in evaluation.json
        rows = with_labels(rows, tuple(kept))
        name = f"{name}, labels {', '.join(map(str, kept))}"
    return rows, name


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


def _examples(ae: Autoencoder, x: np.ndarray, limits: tuple[float, float]) -> np.ndarray:
    """Return the examples for the page: images as uint8 between `limits`, others as float32."""
    if x.dtype == np.uint8:
        if drawn_as_image(ae.event_shape):
            return x
        x = x / np.float32(255)
    x, (low, high) = x.astype(np.float32), limits
    if drawn_as_image(ae.event_shape):
        return np.rint((x - low) / (high - low or 1.0) * 255).astype(np.uint8)
    return x
