"""Sparse latents on Fashion-MNIST: 300 sigmoid units, KL to a mean activation of 0.1.

python -m experiments.train sparse_kl

Two cores: about 45 s.
Expected: test squared error 0.008196 per pixel.
"""

from ae_jax.models import Sparse
from ae_jax.networks import MLP
from experiments.config import Config, Data, Train

CONFIG = Config(
    model=Sparse(
        network=MLP(widths=(100,), activation="selu"),
        latent_dim=300,
        latent_activation="sigmoid",
        penalty="kl",
        weight=5e-2 / 32,
        target=0.1,
        loss="mse",
        output_activation="sigmoid",
    ),
    data=Data(name="fashion_mnist"),
    train=Train(epochs=10, batch_size=32, optimizer="nadam"),
)
