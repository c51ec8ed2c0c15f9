"""Denoising with convolutions of 32 and 32 channels on MNIST, Gaussian noise 0.5, clipped.

python -m experiments.train denoise
"""

from ae_jax.models import Denoising
from ae_jax.networks import Conv
from experiments.config import Config, Data, Train

CONFIG = Config(
    model=Denoising(network=Conv(filters=(32, 32)), code_size=None, noise="gaussian", level=0.5),
    data=Data(name="mnist"),
    train=Train(epochs=5, batch_size=128),
)
