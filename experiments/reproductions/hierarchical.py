"""Rows of VAEs with several levels of latents, on dynamically binarized MNIST."""

from dataclasses import replace

import jax
import numpy as np

from ae_jax.core import as_floats
from ae_jax.evaluation.likelihood import elbo, log_likelihood
from ae_jax.likelihoods.bernoulli import binarized
from experiments.configs import CONFIGS
from experiments.reproductions.setup import Metrics, Row, Setup

WHOLE = 2000
"""The epochs of the published ladder."""
SAMPLES = {"ladder": 1000, "very_deep": 100}


def _hierarchy(setup: Setup, name: str, seed: int, config: str) -> Metrics:
    """-log p(x) of all test images, binarized once, in nats, and the KL divergence by level."""
    settings = CONFIGS[config]
    if setup.long:
        settings = replace(settings, train=replace(settings.train, epochs=WHOLE))
    ae, state, last = setup.train(name, settings, seed)
    data = {"x": np.asarray(binarized(jax.random.key(0), as_floats(last["test"]["x"])))}
    samples = 10 if setup.quick else SAMPLES[config]
    bound = elbo(ae, state.variables, data)
    return {
        "nll": -float(np.mean(log_likelihood(ae, state.variables, data, samples=samples))),
        "negative ELBO": -float(np.mean(bound["elbo"])),
        "kl": float(np.mean(bound["kl"])),
        **{key: last[key] for key in ae.objective if key.startswith("kl_")},
    }


def _ladder(setup: Setup, name: str, seed: int) -> Metrics:
    return _hierarchy(setup, name, seed, "ladder")


def _very_deep(setup: Setup, name: str, seed: int) -> Metrics:
    return _hierarchy(setup, name, seed, "very_deep")


ROWS = {
    "ladder": Row(
        "MNIST binarized dynamically, ladder VAE 512-256-128 with latents 64-32-16: -log p(x) in "
        "nats, 1000 importance samples",
        published="81.74",
        source="Sønderby et al. 2016, five levels, 2000 epochs, 5000 samples",
        reach="<= 80.0",
        run=_ladder,
        long=True,
    ),
    "very-deep": Row(
        "the same, a small very deep VAE with 5 levels at 14x14, 7x7 and 1x1, 6 epochs: -log p(x) "
        "in nats, 100 importance samples",
        published="-",
        source="-",
        reach="-",
        run=_very_deep,
    ),
}
