"""LSTM 100, LSTM 30, repeat, LSTM 100 on the rows of Fashion-MNIST, squared error per pixel.

python -m experiments.train lstm

Two cores: about 6 minutes.
Expected: test squared error 0.008085 per pixel with `--model.output-activation sigmoid`. The linear
output, which fits series of any range, is not measured yet.
"""

from ae_jax.models import Vanilla
from ae_jax.networks import RNN
from experiments.config import Config, Data, Train

CONFIG = Config(
    model=Vanilla(
        network=RNN(widths=(100, 30)),
        latent_dim=None,
        loss="mse",
    ),
    data=Data(name="fashion_mnist"),
    train=Train(
        epochs=10,
        batch_size=32,
        learning_rate=7e-3,
        optimizer="nadam",
        schedule="cosine",
        warmup=0.05,
    ),
)
