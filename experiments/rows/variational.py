"""Rows of the VAE of 784-500-codes on MNIST (the net of Flax's example)."""

import jax
import numpy as np

from ae_jax import plots
from experiments.configs import CONFIGS
from experiments.rows.setup import Figures, Row, Setup, trained


def _plane(setup: Setup, name: str, seed: int) -> Figures:
    """The negative ELBO with two codes; draws the manifold and the test digits' codes."""
    ae, state, found = setup.train(name, CONFIGS["vae2"], seed)
    grid = np.asarray(jax.jit(ae.decode)(state.variables, plots.manifold_codes()))
    plots.save(plots.manifold(grid), setup.results / "vae2-manifold.png")
    test = found["test"]
    z = np.asarray(jax.jit(ae.encode)(state.variables, test["x"]))
    plots.save(plots.code_scatter(z, test["label"]), setup.results / "vae2-codes.png")
    return {key: found[key] for key in ("loss", "nll", "kl")}


ROWS = {
    "vae": Row(
        "MNIST, VAE 784-500-20, 10 epochs: negative ELBO in nats, posterior sampled",
        "about 104", "flax example", "<= 104", trained(CONFIGS["vae"], "loss", "nll", "kl"), 3,
    ),
    "vae2": Row(
        "the same with 2 codes, 784-500-250-2, 30 epochs, and the manifold's picture",
        "-", "-", "-", _plane,
    ),
}  # fmt: skip
