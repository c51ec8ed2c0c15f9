"""784-32-784 on MNIST, sigmoid code, with the squared norm of the encoder's Jacobian.

python -m experiments.train contractive
"""

from ae_jax.models import Contractive
from experiments.config import Config, Data, Train

CONFIG = Config(
    model=Contractive(latent_dim=32, latent_activation="sigmoid", weight=1e-3),
    data=Data(name="mnist"),
    train=Train(epochs=20, batch_size=256),
)
