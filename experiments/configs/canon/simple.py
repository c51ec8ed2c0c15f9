"""One hidden layer of 32 on MNIST: 784-32-784, ReLU, cross-entropy per pixel, Adam.

python -m experiments.train simple
"""

from ae_jax.models import Vanilla
from experiments.config import Config, Data, Train

CONFIG = Config(
    model=Vanilla(latent_dim=32),
    data=Data(name="mnist"),
    train=Train(epochs=50, batch_size=256),
)
