"""A denoising encoder of Fashion-MNIST, for a classifier to start from.

python -m experiments.train few_labels
"""

from ae_jax.models import Denoising
from ae_jax.networks import Dense
from experiments.config import Config, Data, Train

CONFIG = Config(
    model=Denoising(network=Dense(widths=(500,)), code_size=250, noise="masking", level=0.3),
    data=Data(name="fashion_mnist"),
    train=Train(epochs=20, batch_size=128),
)
