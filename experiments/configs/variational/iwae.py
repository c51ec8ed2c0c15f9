"""IWAE with 5 samples on dynamically binarized MNIST, 784-200-200-50 of tanh units (Burda et al.)

python -m experiments.train iwae --run-dir runs/iwae

Two cores: about 27 minutes, beside other work, and more for the 5000 samples.
Expected: not measured yet; python -m experiments.reproduce iwae does.

The gradient of the encoder is the doubly reparametrized one (`IWAE`).
"""

from ae_jax.likelihoods import Bernoulli
from ae_jax.models import ImportanceWeighted
from ae_jax.networks import MLP
from experiments.config import Config, Data, Train

CONFIG = Config(
    model=ImportanceWeighted(
        network=MLP(widths=(200, 200), activation="tanh"),
        latent_dim=50,
        likelihood=Bernoulli(binarize=True),
        samples=5,
        estimator="dreg",
    ),
    data=Data(name="mnist"),
    train=Train(
        epochs=100, batch_size=250, learning_rate=0.02, schedule="cosine", optimizer="muon"
    ),
)
