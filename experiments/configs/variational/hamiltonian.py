"""VAE whose posterior moves by Hamiltonian dynamics, 784-300-64, on static binarized MNIST.

python -m experiments.train hamiltonian --data.dir STATIC_MNIST --run-dir runs/hamiltonian

Two cores: about 35 minutes, beside other work.
Expected: -log p(x) of 90.95 nats per test image, by 1000 samples. The published 86.40 is of a
convolutional net.

Source: Caterini, Doucet & Sejdinovic, Hamiltonian variational auto-encoder, 2018.
"""

from ae_jax.bottlenecks import Hamiltonian
from ae_jax.likelihoods import Bernoulli
from ae_jax.models import AE
from ae_jax.networks import MLP
from experiments.config import Config, Data, Train

CONFIG = Config(
    model=AE(
        network=MLP(widths=(300,), activation="softplus"),
        bottleneck=Hamiltonian(latent_dim=64, steps=4),
        likelihood=Bernoulli(),
    ),
    data=Data(name="static_mnist"),
    train=Train(epochs=40, batch_size=250, learning_rate=0.02, schedule="cosine", optimizer="muon"),
)
