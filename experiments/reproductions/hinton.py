"""Rows of Hinton & Salakhutdinov (2006): a deep autoencoder of MNIST, and what it beats.

Errors are squared errors summed over an image's pixels, means over the test images. The paper's
"logistic PCA" is matched by a linear encoder and decoder with a logistic output, trained by
cross-entropy; with the latent of each image at its own optimum instead
(logistic PCA proper) the error is lower.
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
        "MNIST, 784-1000-500-250-30, RBMs for 10 epochs a layer, then 100 epochs of fine-tuning: "
        "squared error per image",
        "3.00", PAPER, "< 3.00", trained(CONFIGS["hinton"], "squared_error", "bce"),
    ),
    "hinton-scratch": Row(
        "the same net from random weights, 30 epochs",
        "-", "-", "-", trained(NOT_PRETRAINED, "squared_error", "bce"),
    ),
    "pca": Row(
        "MNIST, PCA with 30 components: squared error per image",
        "13.87", PAPER, "13.87", _pca,
    ),
    "logistic-pca": Row(
        "MNIST, 784-30-784, linear latent, logistic output, cross-entropy: squared error per image",
        "8.01", PAPER, "about 8.01", trained(LINEAR_LOGISTIC, "squared_error", "bce"), 3,
    ),
    "logistic-pca-optimum": Row(
        "the same, with each latent at its optimum instead of linear in the input",
        "-", "-", "-", _logistic_pca,
    ),
}  # fmt: skip
