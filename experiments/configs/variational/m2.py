"""Semi-supervised VAE (M2) of MNIST with 100 labels, 10 of each digit (Kingma et al. 2014).

python -m experiments.train m2 --run-dir runs/m2

Two cores: about 9 minutes, an estimate.
Expected: not measured yet; python -m experiments.reproduce m2 does, with more batches that have
labels.

The weight of the classification is the examples over the labeled ones, ten times the paper's (see
`experiments.reproductions.conditional`).
"""

from ae_jax.likelihoods import Bernoulli
from ae_jax.models import SemiSupervised
from ae_jax.networks import MLP
from experiments.config import Config, Data, Train

CONFIG = Config(
    model=SemiSupervised(
        network=MLP(widths=(500,), activation="softplus"),
        latent_dim=50,
        likelihood=Bernoulli(binarize=True),
        weight=600.0,
    ),
    data=Data(name="mnist", few_labels=100),
    train=Train(epochs=30, batch_size=200, learning_rate=1e-3, schedule="cosine"),
)
