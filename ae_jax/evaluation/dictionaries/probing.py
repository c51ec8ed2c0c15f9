"""k-sparse probing: how well a class can be told by k latents alone.

For each class, the k latents are chosen whose mean activation differs most, in absolute value,
between the training examples of the class and all others. A logistic regression on these k, each
scaled to mean 0 and variance 1, is fitted to the training examples.

Source: Gurnee et al., Finding neurons in a haystack: case studies with sparse probing, 2023;
Kantamneni et al., Are sparse autoencoders useful? A case study in sparse probing, 2025, for the
choice by mean difference.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import ArrayLike
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from threadpoolctl import threadpool_limits

from ae_jax.core import Autoencoder, Batch, Variables, floats_in
from ae_jax.data.real import real_rows
from ae_jax.evaluation.batches import each_batch, in_batches
from ae_jax.evaluation.dictionaries.statistics import BATCH, read_columns
from ae_jax.spec import require

KS = (1, 5)


class Probe(NamedTuple):
    """A classifier of one class against all others, on held-out examples."""

    label: int
    """The class."""
    k: int
    latents: tuple[int, ...]
    """The latents that it reads, the largest difference of means first."""
    accuracy: float
    auc: float
    """The area under the ROC curve."""
    base: float
    """The accuracy of the more frequent answer."""


def sparse_probes(
    z: ArrayLike,
    label: ArrayLike,
    test_z: ArrayLike,
    test_label: ArrayLike,
    *,
    ks: Sequence[int] = KS,
) -> list[Probe]:
    """Probes of each class and each of `ks`, of features `z` [N, W] and `test_z` [M, W].

    The features may be of any model, for comparison. Labels are integers [N] and [M]. A k above W
    is W.

    Raises `ValueError` for a k below 1, fewer than two classes, or a class without test examples.
    """
    train, test = np.asarray(z), np.asarray(test_z)
    classes, label, test_label = _checked(label, test_label, ks)
    one_hot = (label == classes[:, None]).astype(np.float64)
    chosen = _chosen(one_hot @ train, one_hot.sum(1), max(ks))
    parts = [(train[:, latents], test[:, latents]) for latents in chosen]
    return _probes(classes, chosen, parts, label, test_label, ks)


def dictionary_probes(
    ae: Autoencoder,
    variables: Variables,
    train: Mapping[str, np.ndarray],
    test: Mapping[str, np.ndarray],
    *,
    ks: Sequence[int] = KS,
    batch_size: int = BATCH,
) -> list[Probe]:
    """`sparse_probes` of the activations of a model, for the column ``"label"`` of the data.

    Activations are computed in batches, once for the means, and once for the latents that are
    chosen: there is no array [N, W]. Rows that ``"mask"`` excludes do not count.

    Raises the errors of `sparse_probes`.
    """
    labels = (real_rows(train)["label"], real_rows(test)["label"])
    columns = [read_columns(ae, data) for data in (train, test)]
    classes, label, test_label = _checked(labels[0], labels[1], ks)
    sums = _class_sums(ae, variables, columns[0], np.searchsorted(classes, label), batch_size)
    chosen = _chosen(sums, np.bincount(np.searchsorted(classes, label)), max(ks))

    def activations(operands: tuple[Variables, Array], batch: Batch) -> Array:
        z = ae.features(operands[0], batch["x"], **ae.encoder_columns(batch))
        return z[:, operands[1]]  # [B, classes, k]

    operands = variables, jnp.asarray(chosen)
    z, test_z = (in_batches(activations, operands, c, batch_size=batch_size) for c in columns)
    parts = [(z[:, i], test_z[:, i]) for i in range(len(classes))]
    return _probes(classes, chosen, parts, label, test_label, ks)


def probe_means(probes: Sequence[Probe]) -> dict[int, dict[str, float]]:
    """The mean accuracy, AUC and base over the classes, for each k."""
    return {
        k: {
            name: float(np.mean([getattr(p, name) for p in probes if p.k == k]))
            for name in ("accuracy", "auc", "base")
        }
        for k in dict.fromkeys(probe.k for probe in probes)
    }


def _checked(
    label: ArrayLike, test_label: ArrayLike, ks: Sequence[int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    label, test_label = np.asarray(label), np.asarray(test_label)
    require(len(ks) > 0 and min(ks) >= 1, "ks", tuple(ks), "must be at least 1 each")
    classes = np.unique(label)
    if len(classes) < 2:
        raise ValueError(f"all labels are {classes[0]}: a probe needs two classes")
    missing = np.setdiff1d(classes, test_label)
    if missing.size:
        raise ValueError(f"no test example has the label {missing[0]}: a probe needs some")
    return classes, label, test_label


def _class_sums(
    ae: Autoencoder,
    variables: Variables,
    columns: Mapping[str, np.ndarray],
    index: np.ndarray,
    batch_size: int,
) -> np.ndarray:
    """The sum of the activations over the examples of each class: float64 [classes, W]."""
    count = int(index.max()) + 1

    @jax.jit
    def run(variables: Variables, batch: Batch, index: Array) -> Array:
        batch = floats_in(batch)
        z = ae.features(variables, batch["x"], **ae.encoder_columns(batch))
        return jnp.matmul(jax.nn.one_hot(index, count).T, z, precision="highest")

    sums, start = np.zeros((count, 1)), 0
    for batch, skip in each_batch(columns, batch_size):
        stop = start - skip + len(batch["x"])
        of_rows = np.where(np.arange(start - skip, stop) >= start, index[start - skip : stop], -1)
        sums = sums + np.asarray(run(variables, batch, of_rows), np.float64)
        start = stop
    return sums


def _chosen(sums: np.ndarray, counts: np.ndarray, k: int) -> np.ndarray:
    """The k latents whose means differ most between each class and the rest: [classes, k]."""
    inside = sums / counts[:, None]
    outside = (sums.sum(0) - sums) / (counts.sum() - counts)[:, None]
    return np.argsort(-np.abs(inside - outside), axis=1, kind="stable")[:, :k]


def _probes(
    classes: np.ndarray,
    chosen: np.ndarray,
    parts: Sequence[tuple[np.ndarray, np.ndarray]],
    label: np.ndarray,
    test_label: np.ndarray,
    ks: Sequence[int],
) -> list[Probe]:
    probes = []
    with threadpool_limits(1):  # more threads do not help with small matrices
        for name, latents, (z, test_z) in zip(classes, chosen, parts, strict=True):
            mean, std = z.mean(0, dtype=np.float64), z.std(0, dtype=np.float64)
            z, test_z = ((each - mean) / np.where(std > 0, std, 1.0) for each in (z, test_z))
            truth, test_truth = label == name, test_label == name
            share = float(test_truth.mean())
            for k in ks:
                model = LogisticRegression(max_iter=1000).fit(z[:, :k], truth)
                probes.append(
                    Probe(
                        label=int(name),
                        k=k,
                        latents=tuple(latents[:k].tolist()),
                        accuracy=float(model.score(test_z[:, :k], test_truth)),
                        auc=float(
                            roc_auc_score(test_truth, model.decision_function(test_z[:, :k]))
                        ),
                        base=max(share, 1 - share),
                    )
                )
    return probes
