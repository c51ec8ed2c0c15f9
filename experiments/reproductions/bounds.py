"""Rows of importance-weighted bounds, and of the gradients of their estimators."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import jax
import numpy as np

from ae_jax import plots
from ae_jax.core import as_floats
from ae_jax.evaluation.likelihood import log_likelihood
from ae_jax.likelihoods.bernoulli import binarized
from experiments import gradients
from experiments.configs import CONFIGS
from experiments.reproductions.setup import Metrics, Row, Setup

EPOCHS = {1: 180, 5: 100, 50: 20, 64: 16}
"""Of each number of samples in all: what 90 minutes on two cores allow, or less."""
IWAE: dict[str, dict[str, Any]] = {
    "K = 1": {"samples": 1},
    "K = 5": {"samples": 5},
    "K = 50": {"samples": 50},
}
GROUPS: dict[str, dict[str, Any]] = {
    "MIWAE (8, 8)": {"samples": 8, "groups": 8},
    "PIWAE (8, 8)": {"samples": 8, "groups": 8, "partial": True},
    "CIWAE 0.05": {"samples": 64, "elbo_weight": 0.05},
}


def _bounds(setup: Setup, name: str, seed: int, bounds: Mapping[str, dict[str, Any]]) -> Metrics:
    """-log p(x) of all test images, binarized once, with 5000 samples, of a model of each bound."""
    metrics = {}
    for label, options in bounds.items():
        config = CONFIGS["iwae"]
        model = replace(config.model, **options)
        settings = replace(config.train, epochs=EPOCHS[model.samples * model.groups])
        run = f"{name}-{label.replace(' ', '')}"
        ae, state, last = setup.train(run, replace(config, model=model, train=settings), seed)
        x = np.asarray(binarized(jax.random.key(0), as_floats(last["test"]["x"])))
        samples = 10 if setup.quick else 5000
        bound = log_likelihood(ae, state.variables, {"x": x}, samples=samples)
        metrics[f"nll {label}"] = -float(np.mean(bound))
    return metrics


def _iwae(setup: Setup, name: str, seed: int) -> Metrics:
    return _bounds(setup, name, seed, IWAE)


def _miwae(setup: Setup, name: str, seed: int) -> Metrics:
    return _bounds(setup, name, seed, GROUPS)


def _gradients(setup: Setup, name: str, seed: int) -> Metrics:
    """The slopes of the encoder's signal-to-noise ratios, and a figure of all ratios."""
    ratios = gradients.measure(
        *gradients.linear_gaussian(examples=8, seed=seed),
        samples=(1, 4) if setup.quick else (1, 3, 10, 30, 100, 300),
        estimators=("reparametrized", "stl", "dreg", "vimco"),
        draws=20 if setup.quick else 4000,
        seed=seed,
    )
    if not setup.quick:
        plots.save(plots.gradient_curves(ratios), setup.results / "gradient-snr.png")
    slopes = gradients.slopes(ratios)
    shown = [("reparametrized", "logvar"), ("dreg", "logvar"), ("vimco", "logvar")]
    shown += [("reparametrized", "decoder"), ("dreg", "mean"), ("stl", "logvar")]
    return {f"{estimator} {group}": slopes[estimator][group] for estimator, group in shown}


NET = "MNIST binarized dynamically, 784-200-200-50 of tanh units"
ROWS = {
    "iwae": Row(
        f"{NET}, IWAE of K = 1, 5 and 50 samples for 180, 100 and 20 epochs: -log p(x) in nats, "
        "5000 importance samples",
        published="86.76, 85.54, 84.78",
        source="Burda et al. 2016, 3280 epochs",
        reach="<= 87.2, 85.9, 85.2",
        run=_iwae,
    ),
    "miwae": Row(
        f"{NET}, 64 samples in all, 16 epochs: -log p(x) in nats, 5000 importance samples",
        published="84.97, 84.46, 84.57",
        source="Rainforth et al. 2018, 3280 epochs",
        reach="<= 84.97, 84.46, 84.57",
        run=_miwae,
    ),
    "gradient-snr": Row(
        "linear Gaussian model in 20 dimensions, K = 1 to 300 samples: the power of K with which "
        "the signal-to-noise ratio of a gradient grows",
        published="-0.5 (encoder), 0.5 (decoder)",
        source="Rainforth et al. 2018, theorem 1",
        reach="about -0.5 of the plain encoder, above 0 of dreg",
        run=_gradients,
    ),
}
