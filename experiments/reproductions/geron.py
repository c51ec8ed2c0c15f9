"""Rows of Géron, Hands-on machine learning, notebook 17, on Fashion-MNIST."""

from dataclasses import replace
from typing import Any

from ae_jax.models import Denoising, Sparse, Vanilla
from ae_jax.networks import MLP, ConvNet
from experiments.config import Config, Train
from experiments.configs import CONFIGS
from experiments.reproductions.setup import Row, trained

GERON = "Géron"
SQUARED: dict[str, Any] = {"loss": "mse", "output_activation": "sigmoid"}


def _fashion(model: Any, epochs: int) -> Config:
    data = CONFIGS["stacked"].data
    return Config(
        model=model, data=data, train=Train(epochs=epochs, batch_size=32, optimizer="nadam")
    )


def _selu(widths: tuple[int, ...]) -> MLP:
    return MLP(widths=widths, activation="selu")


def _with_sigmoid(config: Config) -> Config:
    return replace(config, model=replace(config.model, output_activation="sigmoid"))


ROWS = {
    "geron-stacked": Row(
        "Fashion-MNIST, 784-100-30-100-784 SELU, 20 epochs: squared error per pixel",
        published="0.0132",
        source=GERON,
        reach="<= 0.0132",
        run=trained(CONFIGS["stacked"], "mse"),
    ),
    "geron-tied": Row(
        "geron-stacked with tied weights",
        published="0.0133",
        source=GERON,
        reach="<= 0.0133",
        run=trained(CONFIGS["tied"], "mse"),
    ),
    "geron-greedy": Row(
        "geron-stacked, trained layer by layer for 10 epochs each, then together for 10",
        published="0.0133",
        source=GERON,
        reach="<= 0.0133",
        run=trained(CONFIGS["greedy"], "mse"),
    ),
    "geron-conv": Row(
        "Fashion-MNIST, convolutions 16-32-64 SELU, pool; transposed 32-16-1, 10 epochs: squared "
        "error per pixel",
        published="0.0121",
        source=GERON,
        reach="<= 0.0121",
        run=trained(
            _fashion(
                Vanilla(
                    network=ConvNet(
                        filters=(16, 32, 64), odd="floor", up="transpose", activation="selu"
                    ),
                    latent_dim=None,
                    **SQUARED,
                ),
                10,
            ),
            "mse",
        ),
    ),
    "geron-lstm": Row(
        "Fashion-MNIST by rows, LSTM 100-30, sigmoid output, 10 epochs: squared error per pixel",
        published="0.0104",
        source=GERON,
        reach="<= 0.0104",
        run=trained(_with_sigmoid(CONFIGS["lstm"]), "mse"),
    ),
    "gru": Row(
        "Fashion-MNIST by rows, GRU 100-30, 10 epochs: squared error per pixel",
        published="-",
        source="-",
        reach="-",
        run=trained(CONFIGS["gru"], "mse"),
    ),
    "geron-dropout": Row(
        "Fashion-MNIST, stacked, dropout 0.5 on the input, 10 epochs: squared error per pixel",
        published="0.0166",
        source=GERON,
        reach="<= 0.0166",
        run=trained(
            _fashion(
                Denoising(
                    network=_selu((100,)),
                    latent_dim=30,
                    latent_activation="selu",
                    noise="dropout",
                    level=0.5,
                    **SQUARED,
                ),
                10,
            ),
            "mse",
        ),
    ),
    "geron-sparse-l1": Row(
        "Fashion-MNIST, 100-300 sigmoid latents, L1 1e-4, 10 epochs: squared error per pixel",
        published="0.0111",
        source=GERON,
        reach="<= 0.0111",
        run=trained(
            _fashion(
                Sparse(
                    network=_selu((100,)),
                    latent_dim=300,
                    latent_activation="sigmoid",
                    penalty="l1",
                    weight=1e-4,
                    **SQUARED,
                ),
                10,
            ),
            "mse",
        ),
    ),
    "geron-sparse-kl": Row(
        "Fashion-MNIST, 100-300 sigmoid latents, KL to 0.1, 10 epochs: squared error per pixel",
        published="0.0099",
        source=GERON,
        reach="<= 0.0099",
        run=trained(CONFIGS["sparse_kl"], "mse"),
    ),
}
