"""Rows of Hinton & Salakhutdinov (2006): a deep autoencoder of MNIST, and linear models.

Errors are squared errors, summed over the pixels of an image and averaged over the test images. The
result for "logistic PCA" in the paper agrees with a linear encoder and decoder with a logistic
output, trained by cross-entropy. Logistic PCA itself, where each latent is optimal, has a lower
error.
"""

from dataclasses import replace

from ae_jax.core import as_floats
from ae_jax.evaluation import fit_logistic_pca, fit_pca
from ae_jax.losses import mse
from ae_jax.models import Vanilla
from experiments.config import Config, Train
from experiments.configs import CONFIGS
from experiments.reproductions.setup import Metrics, Row, Setup, trained

PAPER = "Hinton & Salakhutdinov 2006"
NOT_PRETRAINED = replace(
    CONFIGS["hinton"], train=replace(CONFIGS["hinton"].train, pretrain="none", epochs=30)
)
LINEAR_LOGISTIC = Config(
    model=Vanilla(latent_dim=30, latent_activation="linear"),
    data=CONFIGS["simple"].data,
    train=Train(epochs=60, batch_size=250, learning_rate=2e-3, schedule="cosine"),
)


def _pca(setup: Setup, name: str, seed: int) -> Metrics:
    train, test = setup.data("mnist", "train")["x"], as_floats(setup.data("mnist", "test")["x"])
    pca = fit_pca(train, 30)
    return {"squared_error": float(mse(pca.decode(pca.encode(test)), test).mean())}


def _logistic_pca(setup: Setup, name: str, seed: int) -> Metrics:
    train, test = setup.data("mnist", "train")["x"], as_floats(setup.data("mnist", "test")["x"])
    lpca = fit_logistic_pca(train, 30, sweeps=2 if setup.quick else 60)
    return {"squared_error": float(mse(lpca.decode(lpca.encode(test)), test).mean())}


ROWS = {
    "hinton": Row(
        "MNIST, 784-1000-500-250-30, RBMs for 10 epochs per layer, then 100 epochs of fine-tuning: "
        "squared error per image",
        published="3.00",
        source=PAPER,
        reach="< 3.00",
        run=trained(CONFIGS["hinton"], "squared_error", "bce"),
    ),
    "hinton-scratch": Row(
        "the same net from random weights, 30 epochs",
        published="-",
        source="-",
        reach="-",
        run=trained(NOT_PRETRAINED, "squared_error", "bce"),
    ),
    "pca": Row(
        "MNIST, PCA with 30 components: squared error per image",
        published="13.87",
        source=PAPER,
        reach="13.87",
        run=_pca,
    ),
    "logistic-pca": Row(
        "MNIST, 784-30-784, linear latents, logistic output: squared error per image",
        published="8.01",
        source=PAPER,
        reach="about 8.01",
        run=trained(LINEAR_LOGISTIC, "squared_error", "bce"),
        seeds=3,
    ),
    "logistic-pca-optimum": Row(
        "the same, with optimal latents instead of a linear encoder",
        published="-",
        source="-",
        reach="-",
        run=_logistic_pca,
    ),
}
