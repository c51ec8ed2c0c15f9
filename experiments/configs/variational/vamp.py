"""VAE with a VampPrior of 500 pseudo-inputs and gated layers 300-300, on static binarized MNIST.

python -m experiments.train vamp --data.dir STATIC_MNIST --run-dir runs/vamp

Two cores: about 15 minutes, an estimate: it shared the machine.
Expected: -log p(x) of 85.67 nats per test image, by 5000 samples. With a standard normal prior it
is 88.50.

Source: Tomczak & Welling, VAE with a VampPrior, 2018.
"""

from ae_jax.models import Variational
from ae_jax.networks import MLP
from ae_jax.priors import VampPrior
from experiments.config import Config, Data, Train

CONFIG = Config(
    model=Variational(
        network=MLP(widths=(300, 300), activation="linear", gated=True),
        latent_dim=40,
        prior=VampPrior(pseudo_inputs=500),
        warmup_steps=500,
    ),
    data=Data(name="static_mnist"),
    train=Train(epochs=25, batch_size=500, learning_rate=0.03, schedule="cosine", optimizer="muon"),
)
