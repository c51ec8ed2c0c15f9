"""784-1024-784 on MNIST: more latents than pixels, kept from copying by masking noise.

python -m experiments.train overcomplete

Two cores: about 2 minutes.
Expected: test cross-entropy 0.08948 per pixel, of masked images.
"""

from ae_jax.models import Denoising
from experiments.config import Config, Data, Train

CONFIG = Config(
    model=Denoising(latent_dim=1024, noise="masking", level=0.5),
    data=Data(name="mnist"),
    train=Train(epochs=20, batch_size=256),
)
