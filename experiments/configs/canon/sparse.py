"""784-32-784 on MNIST with an L1 penalty on the latent: summed over units, mean over images.

python -m experiments.train sparse

Two cores: about 1 minute.
Expected: test cross-entropy 0.09177 per pixel (3 seeds), with 0.1445 of the activation of *simple*.
"""

from ae_jax.models import Sparse
from experiments.config import Config, Data, Train

CONFIG = Config(
    model=Sparse(latent_dim=32, penalty="l1", weight=1e-4),
    data=Data(name="mnist"),
    train=Train(epochs=100, batch_size=256),
)
