"""Rows of VAEs on MNIST, with the net 784-500-latents of Flax's example."""

import jax
import numpy as np

from ae_jax import plots
from ae_jax.core import as_floats
from ae_jax.evaluation.likelihood import elbo, log_likelihood, posterior_metrics
from ae_jax.likelihoods.bernoulli import binarized
from experiments.configs import CONFIGS
from experiments.reproductions.setup import Metrics, Row, Setup, trained


def _plane(setup: Setup, name: str, seed: int) -> Metrics:
    """The negative ELBO with two latents; draws the manifold and the latents of test digits."""
    ae, state, last = setup.train(name, CONFIGS["vae2"], seed)
    grid = np.asarray(jax.jit(ae.decode)(state.variables, plots.manifold_latents()))
    plots.save(plots.manifold(grid), setup.results / "vae2-manifold.png")
    test = last["test"]
    z = np.asarray(jax.jit(ae.encode)(state.variables, test["x"]))
    plots.save(plots.latent_scatter(z, test["label"]), setup.results / "vae2-latents.png")
    return {key: last[key] for key in ("loss", "nll", "kl")}


def _likelihood(setup: Setup, name: str, seed: int) -> Metrics:
    """-log p(x) of all test images, binarized once, in nats: importance-weighted, as published."""
    ae, state, last = setup.train(name, CONFIGS["vae_nll"], seed)
    x = binarized(jax.random.key(0), as_floats(last["test"]["x"]))
    data = {"x": np.asarray(x)}
    samples = 10 if setup.quick else 5000
    bound = elbo(ae, state.variables, data)
    return {
        "nll": -float(np.mean(log_likelihood(ae, state.variables, data, samples=samples))),
        "negative ELBO": -float(np.mean(bound["elbo"])),
        "kl": float(np.mean(bound["kl"])),
        "active units": posterior_metrics(ae, state.variables, data)["active_units"],
    }


ROWS = {
    "vae": Row(
        "MNIST, VAE 784-500-20, 10 epochs: negative ELBO in nats, posterior sampled",
        published="about 104",
        source="flax example",
        reach="<= 104",
        run=trained(CONFIGS["vae"], "loss", "nll", "kl"),
        seeds=3,
    ),
    "vae2": Row(
        "the same with 2 latents, 784-500-250-2, 30 epochs, and a figure of the manifold",
        published="-",
        source="-",
        reach="-",
        run=_plane,
    ),
    "vae-conv": Row(
        "MNIST, VAE with convolutions 32-64 of stride 2 and 20 latents, 10 epochs: negative ELBO "
        "in nats, posterior sampled",
        published="-",
        source="-",
        reach="-",
        run=trained(CONFIGS["vae_conv"], "loss", "nll", "kl"),
    ),
    "digits": Row(
        "scikit-learn's digits, VAE 64-256-128-2, 200 epochs: negative ELBO in nats, posterior "
        "sampled",
        published="-",
        source="-",
        reach="-",
        run=trained(CONFIGS["digits"], "loss", "nll", "kl"),
    ),
    "vae-nll": Row(
        "MNIST binarized dynamically, VAE 784-200-200-50, 180 epochs: -log p(x) in nats, 5000 "
        "importance samples",
        published="86.76",
        source="Burda et al. 2016, 3280 epochs",
        reach="<= 88.5",
        run=_likelihood,
    ),
}
