"""Denoising with convolutions of 32 and 32 channels on MNIST, Gaussian noise of 0.5, clipped.

python -m experiments.train denoise

Two cores: about 3 minutes.
Expected: the squared error of a noisy test image is 8.907 times that of its reconstruction.
"""

from ae_jax.models import Denoising
from ae_jax.networks import ConvNet
from experiments.config import Config, Data, Train

CONFIG = Config(
    model=Denoising(
        network=ConvNet(filters=(32, 32)), latent_dim=None, noise="gaussian", level=0.5
    ),
    data=Data(name="mnist"),
    train=Train(epochs=5, batch_size=128),
)
