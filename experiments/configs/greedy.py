"""784-100-30-100-784 on Fashion-MNIST as in `stacked`, trained layer by layer first.

python -m experiments.train greedy
"""

from ae_jax.models import Vanilla
from ae_jax.networks import Dense
from experiments.config import Config, Data, Train

CONFIG = Config(
    model=Vanilla(
        network=Dense(widths=(100,), activation="selu"),
        code_size=30,
        code_activation="selu",
        loss="mse",
        output_activation="sigmoid",
    ),
    data=Data(name="fashion_mnist"),
    train=Train(epochs=10, batch_size=32, optimizer="nadam", pretrain="greedy", pretrain_epochs=10),
)
