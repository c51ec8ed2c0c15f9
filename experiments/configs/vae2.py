"""VAE on MNIST with 2 codes, to be looked at: 784-500-250-2.

python -m experiments.train vae2
"""

from ae_jax.models import Variational
from ae_jax.networks import Dense
from experiments.config import Config, Data, Train

CONFIG = Config(
    model=Variational(network=Dense(widths=(500, 250)), code_size=2),
    data=Data(name="mnist"),
    train=Train(epochs=30, batch_size=128, schedule="cosine"),
)
