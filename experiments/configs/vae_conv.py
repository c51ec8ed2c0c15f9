"""VAE on MNIST with a convolutional network (strided and transposed) and 20 codes.

python -m experiments.train vae_conv
"""

from ae_jax.models import Variational
from ae_jax.networks import Conv
from experiments.config import Config, Data, Train

CONFIG = Config(
    model=Variational(network=Conv(filters=(32, 64), down="stride"), code_size=20),
    data=Data(name="mnist"),
    train=Train(epochs=10, batch_size=128),
)
