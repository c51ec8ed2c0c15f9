"""784-1000-500-250-30 of sigmoid units on MNIST from a stack of RBMs, as Hinton & Salakhutdinov.

python -m experiments.train hinton

Two cores: about 20 minutes.
Expected: test squared error 2.715 per image.
"""

from ae_jax.models import Vanilla
from ae_jax.networks import MLP
from experiments.config import Config, Data, Train

CONFIG = Config(
    model=Vanilla(
        network=MLP(widths=(1000, 500, 250), activation="sigmoid"),
        latent_dim=30,
        latent_activation="linear",
    ),
    data=Data(name="mnist"),
    train=Train(
        epochs=100,
        batch_size=256,
        schedule="cosine",
        pretrain="rbm",
        pretrain_epochs=10,
    ),
)
