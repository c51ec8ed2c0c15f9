r"""Ladder VAE on dynamically binarized MNIST: widths 512-256-128, latents 64-32-16.

python -m experiments.train ladder --run-dir runs/ladder
python -m experiments.evaluate runs/ladder --metrics generation \
    --generation.importance-samples 1000 --generation.likelihood-examples 10000

Two cores: about 80 minutes, an estimate, and more for the 1000 samples.
Expected: not measured yet; python -m experiments.reproduce ladder does.

Sønderby et al. (2016) reach 81.74 with five levels (512-256-128-64-32, latents 64-32-16-8-4), batch
normalization, leaky units and 2000 epochs. Here the decoder's hidden layers read the level above
(`skip`), units are ELU, and nothing is normalized; beta grows over the first 50 epochs.

On 2000 of the last 10000 training images, after 4 epochs of 30000 others, the negative ELBO was
102.2; without skip 102.3, with batch normalization 102.8, with SiLU 107.4, and at a rate of
0.001 105.9. On 40000 images for 8 epochs it is 96.9, and 97.0 with batch normalization, which keeps
more of the top level (KL 6.9 nats instead of 1.2). Without warm-up, leaky units gave 156 after 2
epochs.
"""

from ae_jax.likelihoods import Bernoulli
from ae_jax.models import Ladder
from experiments.config import Config, Data, Train

CONFIG = Config(
    model=Ladder(
        activation="elu",
        skip=True,
        likelihood=Bernoulli(binarize=True),
        warmup_steps=30_000,
    ),
    data=Data(name="mnist"),
    train=Train(epochs=500, batch_size=100, learning_rate=2e-3, schedule="cosine"),
)
