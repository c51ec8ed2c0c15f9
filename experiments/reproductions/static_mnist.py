"""Rows on static binarized MNIST: priors and posteriors. They train on the first 50,000 images."""

from dataclasses import replace

import numpy as np

from ae_jax.evaluation.likelihood import elbo
from ae_jax.priors import StandardNormal, VampPrior
from experiments.configs import CONFIGS
from experiments.reproductions.setup import Metrics, Row, Setup

FEW = 128  # samples of the rows mean-field and iaf


def _posterior(setup: Setup, name: str, seed: int) -> Metrics:
    """-log p(x) and the negative ELBO in nats, each of 128 samples."""
    ae, state, last = setup.train(name, CONFIGS[name.replace("-", "_")], seed)
    x = last["test"]["x"]
    samples = 2 if setup.quick else FEW
    bound = elbo(ae, state.variables, {"x": x}, samples=samples)["elbo"]
    nll = setup.nll(ae, state, x, samples=FEW)
    return {"nll": nll, "negative ELBO": -float(np.mean(bound, dtype=np.float64))}


def _vamp(setup: Setup, name: str, seed: int) -> Metrics:
    """-log p(x) in nats with the VampPrior, and with N(0, I) on the same net."""
    vamp = CONFIGS["vamp"]
    if setup.quick:
        vamp = replace(vamp, model=replace(vamp.model, prior=VampPrior(pseudo_inputs=50)))
    standard = replace(vamp, model=replace(vamp.model, prior=StandardNormal()))
    metrics = {}
    for label, config in {"vamp": vamp, "standard": standard}.items():
        ae, state, last = setup.train(f"vamp-{label}", config, seed)
        metrics[f"nll {label}"] = setup.nll(ae, state, last["test"]["x"], samples=5000)
    return metrics


def _hamiltonian(setup: Setup, name: str, seed: int) -> Metrics:
    ae, state, last = setup.train(name, CONFIGS["hamiltonian"], seed)
    x = last["test"]["x"]
    bound = elbo(ae, state.variables, {"x": x})["elbo"]
    nll = setup.nll(ae, state, x, samples=1000)
    return {"nll": nll, "negative ELBO": -float(np.mean(bound, dtype=np.float64))}


SET = "static binarized MNIST"
ROWS = {
    "mean-field": Row(
        f"{SET}, VAE 784-256-256-128, 20 epochs: -log p(x) and negative ELBO in nats, 128 samples*",
        published="97.10, 103.31",
        source="github.com/altosaar/variational-autoencoder, 166 epochs",
        reach="<= 97.10, 103.31",
        run=_posterior,
    ),
    "iaf": Row(
        "the same with an inverse autoregressive flow as posterior, 20 epochs",
        published="95.33, 101.64",
        source="github.com/altosaar/variational-autoencoder, 384 epochs",
        reach="<= 95.33, 101.64",
        run=_posterior,
    ),
    "vamp": Row(
        f"{SET}, VAE with gated layers 784-300-300-40, 500 pseudo-inputs, 25 epochs: -log p(x) in "
        "nats, 5000 importance samples*",
        published="85.57, with N(0, I) 88.56",
        source="Tomczak & Welling 2018",
        reach="<= 85.8, 88.6",
        run=_vamp,
    ),
    "hvae-hamiltonian": Row(
        f"{SET}, VAE 784-300-64 of softplus units, 4 leapfrog steps, 40 epochs: -log p(x) in nats, "
        "1000 importance samples*",
        published="86.40",
        source="Caterini et al. 2018, with convolutions",
        reach="<= 86.5",
        run=_hamiltonian,
    ),
}
