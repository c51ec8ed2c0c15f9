"""VAE on MNIST with 2 latents, to be looked at: 784-500-250-2.

python -m experiments.train vae2

Two cores: about 3 minutes.
Expected: test negative ELBO 140.8 nats per image.
"""

from ae_jax.models import Variational
from ae_jax.networks import MLP
from experiments.config import Config, Data, Train

CONFIG = Config(
    model=Variational(network=MLP(widths=(500, 250)), latent_dim=2),
    data=Data(name="mnist"),
    train=Train(epochs=30, batch_size=128, schedule="cosine"),
)
