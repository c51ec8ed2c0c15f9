"""VAE on MNIST with a convolutional network (strided and transposed) and 20 latents.

python -m experiments.train vae_conv

Two cores: about 5 minutes.
Expected: test negative ELBO 99.06 nats per image.
"""

from ae_jax.models import Variational
from ae_jax.networks import ConvNet
from experiments.config import Config, Data, Train

CONFIG = Config(
    model=Variational(network=ConvNet(filters=(32, 64), down="stride"), latent_dim=20),
    data=Data(name="mnist"),
    train=Train(epochs=10, batch_size=128),
)
