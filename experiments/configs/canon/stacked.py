"""784-100-30-100-784 on Fashion-MNIST, SELU, squared error per pixel.

python -m experiments.train stacked

Two cores: about 45 s.
Expected: test squared error 0.01031 per pixel.
"""

from ae_jax.models import Vanilla
from ae_jax.networks import MLP
from experiments.config import Config, Data, Train

CONFIG = Config(
    model=Vanilla(
        network=MLP(widths=(100,), activation="selu"),
        latent_dim=30,
        latent_activation="selu",
        loss="mse",
        output_activation="sigmoid",
    ),
    data=Data(name="fashion_mnist"),
    train=Train(epochs=20, batch_size=32, optimizer="nadam"),
)
