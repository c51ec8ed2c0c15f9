r"""VAE on dynamically binarized MNIST, as Burda et al. (2016) measure them: 784-200-200-50.

python -m experiments.train vae_nll --run-dir runs/vae_nll
python -m experiments.evaluate runs/vae_nll --metrics generation \
    --generation.importance-samples 5000 --generation.likelihood-examples 10000

Two cores: about 10 minutes, and as many for the 5000 samples.
Expected: -log p(x) of 87.24 nats per test image.

That is of the 10000 test images, binarized once, seed 0, with 5000 importance samples; with 64
samples it is 87.95. The negative ELBO is 91.16, and 21 units are active. The published VAE reaches
86.76 in 3280 epochs; for a longer run, give --train.epochs 1000. Units are ELU and not tanh as
there: on the last 10000 training images, trained on the others for 10 epochs, they gave a negative
ELBO of 101.6 (SiLU 103.4; tanh, at a rate of 0.003, 108.8).
"""

from ae_jax.models import Variational
from ae_jax.networks import MLP
from experiments.config import Config, Data, Train

CONFIG = Config(
    model=Variational(
        network=MLP(widths=(200, 200), activation="elu"), latent_dim=50, binarize=True
    ),
    data=Data(name="mnist"),
    train=Train(epochs=180, batch_size=100, learning_rate=2e-3, schedule="cosine"),
)
