"""Rows of importance-weighted bounds, and of the gradients of their estimators."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import jax
import numpy as np

from ae_jax import plots
from ae_jax.core import Autoencoder, as_floats
from ae_jax.likelihoods.bernoulli import binarized
from ae_jax.training import TrainState
from experiments import gradients
from experiments.configs import CONFIGS
from experiments.reproductions.setup import Metrics, Row, Setup

SHORT = 8
"""The epochs of many samples, which are trained after few."""
WHOLE = 3280
"""The epochs of the published figures."""
FIRST = {"K = 1": {"samples": 1}, "K = 5": {"samples": 5}}
NEXT: dict[str, dict[str, Any]] = {"K = 50": {"samples": 50}}
GROUPS: dict[str, dict[str, Any]] = {
    "MIWAE (8, 8)": {"samples": 8, "groups": 8},
    "PIWAE (8, 8)": {"samples": 8, "groups": 8, "partial": True},
    "CIWAE 0.05": {"samples": 64, "elbo_weight": 0.05},
}


def _trained(
    setup: Setup, label: str, options: Mapping[str, Any], seed: int, params: Any = None
) -> tuple[Autoencoder, TrainState, dict[str, Any]]:
    """A model of one bound: from the start, or for a short time from the parameters of another."""
    config = CONFIGS["iwae"]
    model, settings = replace(config.model, **options), config.train
    if setup.long:
        params, settings = None, replace(settings, epochs=WHOLE)
    elif params is not None:
        settings = replace(settings, epochs=SHORT, learning_rate=settings.learning_rate / 2)
    run = f"iwae-{label.replace(' ', '')}"
    return setup.train(run, replace(config, model=model, train=settings), seed, params)


def _nll(setup: Setup, trained: tuple[Autoencoder, TrainState, dict[str, Any]]) -> float:
    """-log p(x) of test images that are binarized once."""
    ae, state, last = trained
    x = np.asarray(binarized(jax.random.key(0), as_floats(last["test"]["x"])))
    return setup.nll(ae, state, x, samples=5000)


def _iwae(setup: Setup, name: str, seed: int) -> Metrics:
    first = {label: _trained(setup, label, options, seed) for label, options in FIRST.items()}
    start = first["K = 5"][1].params
    then = {label: _trained(setup, label, o, seed, start) for label, o in NEXT.items()}
    return {f"nll {label}": _nll(setup, each) for label, each in {**first, **then}.items()}


def _miwae(setup: Setup, name: str, seed: int) -> Metrics:
    start = _trained(setup, "K = 5", FIRST["K = 5"], seed)[1].params
    return {
        f"nll {label}": _nll(setup, _trained(setup, label, options, seed, start))
        for label, options in GROUPS.items()
    }


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
        f"{NET}, IWAE: 60 epochs of K = 1 and of K = 5, and 8 more of K = 50: -log p(x) in nats, "
        "5000 importance samples*",
        published="86.76, 85.54, 84.78",
        source="Burda et al. 2016, 3280 epochs",
        reach="<= 87.2, 85.9, 85.2",
        run=_iwae,
        long=True,
    ),
    "miwae": Row(
        f"{NET}, 64 samples in all for 8 epochs, after 60 of IWAE with 5: -log p(x) in nats, "
        "5000 importance samples*",
        published="84.97, 84.46, 84.57",
        source="Rainforth et al. 2018, 3280 epochs",
        reach="<= 84.97, 84.46, 84.57",
        run=_miwae,
        long=True,
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
