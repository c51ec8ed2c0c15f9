"""A small VAE of two latents on scikit-learn's 8x8 digits: the default, needs no file, no network.

python -m experiments.train

Two cores: about 11 s.
Expected: test negative ELBO 24.22 nats per image.
"""

from ae_jax.models import Variational
from ae_jax.networks import MLP
from experiments.config import Config, Train

CONFIG = Config(
    model=Variational(network=MLP(widths=(256, 128)), latent_dim=2),
    train=Train(epochs=200, batch_size=128),
)
