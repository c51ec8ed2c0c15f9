"""784-100-30-100-784 on Fashion-MNIST as in `stacked`, the decoder with the encoder's weights.

python -m experiments.train tied
"""

from ae_jax.models import Tied
from ae_jax.networks import Dense
from experiments.config import Config, Data, Train

CONFIG = Config(
    model=Tied(
        network=Dense(widths=(100,), activation="selu"),
        code_size=30,
        code_activation="selu",
        loss="mse",
        output_activation="sigmoid",
    ),
    data=Data(name="fashion_mnist"),
    train=Train(epochs=20, batch_size=32, optimizer="nadam"),
)
