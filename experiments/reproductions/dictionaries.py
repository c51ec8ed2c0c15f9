"""Rows of dictionaries on data whose features are known."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import optax

from ae_jax.core import Autoencoder, TrainState
from ae_jax.data.generated import Generated
from ae_jax.data.memory import steps_per_epoch
from ae_jax.data.synthetic import MatryoshkaToy, SynthSAE
from ae_jax.data.synthetic.law import Law
from ae_jax.evaluation.dictionaries.ground_truth import scores
from ae_jax.models import Dictionary
from ae_jax.sparsifiers import BatchTopK, Gated, JumpReLU, L1Sparsifier, TopK
from ae_jax.training import fit
from experiments.reproductions.setup import Metrics, Setup

LAW = SynthSAE(features=1024, dim=64, roots=32, children=4, depth=1)
WIDTH, ACTIVE, BATCH = 256, 12, 1024
EXAMPLES, TESTED, EPOCHS = 200_000, 20_000, 10
RATE = 1e-3
PREFIXES = (16, 64, 128, WIDTH)
COMMON = Dictionary(width=WIDTH, sparsifier=TopK(active=ACTIVE), center="mean", normalize=True)
TUNED: dict[str, Any] = {"target_l0": float(ACTIVE), "warmup_steps": 300}
KINDS = {
    "TopK": COMMON,
    "BatchTopK": replace(COMMON, sparsifier=BatchTopK(active=ACTIVE)),
    "Matryoshka": replace(COMMON, sparsifier=BatchTopK(active=ACTIVE), prefixes=PREFIXES),
    "LISTA-Matryoshka": replace(
        COMMON, sparsifier=BatchTopK(active=ACTIVE), prefixes=PREFIXES, refine=1
    ),
    "JumpReLU": replace(
        COMMON, sparsifier=JumpReLU(weight=0.1, threshold=0.5, bandwidth=0.5, **TUNED)
    ),
    "L1": replace(COMMON, sparsifier=L1Sparsifier(weight=0.3, **TUNED)),
    "Gated": replace(COMMON, sparsifier=Gated(weight=0.3, **TUNED)),
}


def rows_of(data: Generated) -> dict[str, np.ndarray]:
    """All rows of generated data, as arrays."""
    return data.read(np.arange(data.length))


def falling(rate: float, total: int) -> optax.GradientTransformation:
    """Adam, with a rate that falls linearly to 0 over the last third of the updates."""
    return optax.adam(optax.linear_schedule(rate, 0.0, total // 3, total - total // 3))


def explained_variance(ae: Autoencoder, state: TrainState, x: np.ndarray) -> float:
    """1 - the sum of squared errors over that of deviations from the mean example."""
    recon = np.asarray(ae.reconstruct(state.variables, x), np.float64)
    return 1 - float(np.square(x - recon).sum() / np.square(x - x.mean(0)).sum())


def scored(
    ae: Autoencoder, state: TrainState, law: Law, tested: Mapping[str, np.ndarray]
) -> dict[str, float]:
    """The scores of a dictionary on rows with their true activations."""
    learned = np.asarray(ae.apply(state.variables, method="directions"))
    z = np.asarray(ae.features(state.variables, tested["x"]))
    chunks = [(z, tested["activations"])]
    found = scores(learned, np.asarray(law.features), chunks, law.parents)
    return {**found, "explained variance": explained_variance(ae, state, tested["x"])}


def _synth(setup: Setup, name: str, seed: int) -> Metrics:
    """F1, MCC and explained variance of each kind, all trained on the same rows."""
    law = LAW.build(0)
    examples, tested = (2048, 512) if setup.quick else (EXAMPLES, TESTED)
    x = rows_of(law.data(examples, seed=2 * seed))["x"]
    test = rows_of(law.data(tested, seed=2 * seed + 1, activations=True))
    epochs = 1 if setup.quick else EPOCHS
    total = epochs * steps_per_epoch(examples, BATCH)
    metrics = {}
    for kind, spec in KINDS.items():
        ae = spec.build(x.shape[1:])
        state, _ = fit(
            ae, x, epochs=epochs, batch_size=BATCH, optimizer=falling(RATE, total), seed=seed
        )
        found = scored(ae, state, law, test)
        for label, key in (("F1", "f1"), ("MCC", "mcc"), ("EV", "explained variance")):
            metrics[f"{label} {kind}"] = found[key]
        metrics[f"L0 {kind}"] = found["l0"]
    return metrics


TOY_STEPS, TOY_BATCH, TOY_RATE = 10_000, 200, 3e-2
TOY_ACTIVE = 1.2338


def _toy(setup: Setup, name: str, seed: int) -> Metrics:
    """The features that are found at a cosine of at least 0.99, with and without prefixes."""
    law = MatryoshkaToy(alone=0.064225).build(seed)
    steps = 20 if setup.quick else TOY_STEPS
    test = rows_of(law.data(200 if setup.quick else 20_000, seed=1, activations=True))
    l1 = L1Sparsifier(weight=0.05, target_l0=TOY_ACTIVE, warmup_steps=steps // 10)
    plain = Dictionary(width=20, sparsifier=l1)
    metrics = {}
    for kind, spec in {"": replace(plain, sampled_prefixes=10), " (plain)": plain}.items():
        ae = spec.build((20,))
        data = law.data(TOY_BATCH * 100, seed=0)
        optimizer = falling(TOY_RATE / 10, steps)
        state, _ = fit(ae, data, steps=steps, batch_size=TOY_BATCH, optimizer=optimizer, seed=seed)
        found = scored(ae, state, law, test)
        learned = np.asarray(ae.apply(state.variables, method="directions"))
        cosine = unit(learned) @ unit(np.asarray(law.features)).T
        metrics[f"found{kind}"] = float((cosine.max(0) >= 0.99).sum())
        metrics[f"absorption{kind}"] = found["absorption"]
        metrics[f"L0{kind}"] = found["l0"]
    return metrics


def unit(rows: np.ndarray) -> np.ndarray:
    """Rows of norm 1."""
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)

