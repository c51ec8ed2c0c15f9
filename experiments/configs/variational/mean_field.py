"""VAE on static binarized MNIST, 784-256-256-128: the baseline that flows are compared with.

python -m experiments.train mean_field --data.dir STATIC_MNIST --run-dir runs/mean_field

Two cores: about 11 minutes, beside other work.
Expected: -log p(x) of 91.25 nats per test image, by 128 samples, and a negative ELBO of 96.29.
"""

from ae_jax.models import Variational
from ae_jax.networks import MLP
from experiments.config import Config, Data, Train

CONFIG = Config(
    model=Variational(network=MLP(widths=(256, 256)), latent_dim=128),
    data=Data(name="static_mnist"),
    train=Train(epochs=20, batch_size=250, learning_rate=0.02, schedule="cosine", optimizer="muon"),
)
