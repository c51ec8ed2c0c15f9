r"""Very deep VAE, small: 5 levels of latents at 14x14, 7x7 and 1x1, on dynamically binarized MNIST.

python -m experiments.train very_deep --run-dir runs/very_deep

Two cores: about 15 minutes, an estimate.
Expected: not measured yet; python -m experiments.reproduce very-deep does.

For colors, as of CIFAR-10:

python -m experiments.train very_deep --data.name cifar10 --run-dir runs/very_deep_cifar10 \
    --model.pools 2 2 2 --model.blocks 1 4 3 2 --model.likelihood.kind discretized_logistic_mixture
"""

from ae_jax.likelihoods import Bernoulli
from ae_jax.models import VeryDeep
from experiments.config import Config, Data, Train

CONFIG = Config(
    model=VeryDeep(
        blocks=(0, 2, 2, 1),
        width=32,
        bottleneck=8,
        activation="silu",
        likelihood=Bernoulli(binarize=True),
        warmup_steps=1000,
    ),
    data=Data(name="mnist"),
    train=Train(epochs=6, batch_size=100, learning_rate=2e-3, schedule="cosine", max_skips=10),
)
