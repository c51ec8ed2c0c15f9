"""Rows of VAEs whose latents live on a sphere or in hyperbolic space."""

from dataclasses import replace

import jax
import numpy as np

from ae_jax.core import as_floats
from ae_jax.evaluation.likelihood import elbo, log_likelihood
from ae_jax.likelihoods.bernoulli import binarized
from ae_jax.models import Variational
from experiments.config import Config
from experiments.configs import CONFIGS
from experiments.reproductions.setup import Metrics, Row, Setup

SAMPLES = 500


def _measured(setup: Setup, run: str, config: Config, seed: int, *, binary: bool) -> Metrics:
    """-log p(x) of all test images with 500 importance samples, and the negative ELBO, in nats."""
    ae, state, last = setup.train(run, config, seed)
    x = last["test"]["x"]
    data = {"x": np.asarray(binarized(jax.random.key(0), as_floats(x))) if binary else x}
    samples = 10 if setup.quick else SAMPLES
    return {
        "nll": -float(np.mean(log_likelihood(ae, state.variables, data, samples=samples))),
        "negative ELBO": -float(np.mean(elbo(ae, state.variables, data)["elbo"])),
    }


def _sphere(setup: Setup, name: str, seed: int) -> Metrics:
    """Of the sphere, and of a VAE with as many dimensions."""
    config = CONFIGS["svae"]
    sphere = _measured(setup, name, config, seed, binary=True)
    gaussian = Variational(
        network=config.model.network, latent_dim=config.model.latent_dim - 1, binarize=True
    )
    plain = replace(config, model=gaussian)
    beside = _measured(setup, f"{name}-gaussian", plain, seed, binary=True)
    return {**sphere, **{f"{metric} (Gaussian)": value for metric, value in beside.items()}}


def _ball(setup: Setup, name: str, seed: int) -> Metrics:
    return _measured(setup, name, CONFIGS["poincare"], seed, binary=False)


ROWS = {
    "svae": Row(
        "MNIST binarized dynamically, 784-256-128 and a sphere S^10, 30 epochs: -log p(x) in "
        f"nats, {SAMPLES} importance samples; the same of a VAE with 10 Gaussian latents",
        published="93.16",
        source="Davidson et al. 2018, table 1",
        reach="<= 93.16",
        run=_sphere,
    ),
    "poincare": Row(
        "MNIST in gray, 784-600-10 in a ball of curvature -0.7, 80 epochs: -log p(x) in nats (a "
        f"cross-entropy), {SAMPLES} importance samples",
        published="101.47",
        source="Mathieu et al. 2019",
        reach="<= 101.47",
        run=_ball,
    ),
}
