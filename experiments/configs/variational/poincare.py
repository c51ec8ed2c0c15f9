r"""Poincaré VAE on gray MNIST, as Mathieu et al. (2019): 784-600-10, a ball of curvature -0.7.

python -m experiments.train poincare --run-dir runs/poincare
python -m experiments.evaluate runs/poincare --metrics generation \
    --generation.importance-samples 500 --generation.likelihood-examples 10000

Two cores: about 16 minutes, beside other work.
Expected: -log p(x) of 100.2 nats per test image, by 500 samples (a cross-entropy: x is gray).

The decoder is a layer of 600 distances to hyperplanes and a dense one. Gray values are the targets
of the cross-entropy, as there.
"""

from ae_jax.models import Poincare
from ae_jax.networks import MLP
from experiments.config import Config, Data, Train

CONFIG = Config(
    model=Poincare(
        network=MLP(widths=(600,), decoder_widths=()), latent_dim=10, curvature=0.7, gyroplanes=600
    ),
    data=Data(name="mnist"),
    train=Train(epochs=80, batch_size=128, learning_rate=1e-3, schedule="cosine"),
)
