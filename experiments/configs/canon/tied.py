"""784-100-30-100-784 on Fashion-MNIST as in `stacked`, the decoder with the encoder's weights.

python -m experiments.train tied

Two cores: about 35 s.
Expected: test squared error 0.01050 per pixel.
"""

from ae_jax.models import Tied
from ae_jax.networks import MLP
from experiments.config import Config, Data, Train

CONFIG = Config(
    model=Tied(
        network=MLP(widths=(100,), activation="selu"),
        latent_dim=30,
        latent_activation="selu",
        loss="mse",
        output_activation="sigmoid",
    ),
    data=Data(name="fashion_mnist"),
    train=Train(epochs=20, batch_size=32, optimizer="nadam"),
)
