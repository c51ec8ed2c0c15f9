"""VAE on dynamically binarised MNIST, of the size that Burda et al. (2016) measure: 784-200-200-50.

python -m experiments.train vae_nll
"""

from ae_jax.models import Variational
from ae_jax.networks import Dense
from experiments.config import Config, Data, Train

CONFIG = Config(
    model=Variational(
        network=Dense(widths=(200, 200), activation="elu"), code_size=50, binarize=True
    ),
    data=Data(name="mnist"),
    train=Train(epochs=180, batch_size=100, learning_rate=2e-3, schedule="cosine"),
)
