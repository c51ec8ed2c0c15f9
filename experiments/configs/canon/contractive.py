"""One hidden layer of 32 sigmoid units on MNIST, with the squared norm of the encoder's Jacobian.

python -m experiments.train contractive

Two cores: about 9 minutes.
Expected: test cross-entropy 0.1926 per pixel, squared norm of the Jacobian 0.6557.
"""

from ae_jax.models import Contractive
from experiments.config import Config, Data, Train

CONFIG = Config(
    model=Contractive(latent_dim=32, latent_activation="sigmoid", weight=1e-3),
    data=Data(name="mnist"),
    train=Train(epochs=20, batch_size=256),
)
