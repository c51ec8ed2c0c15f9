r"""A sparse dictionary (TopK SAE) of vectors, such as activations; by default of 8x8 digits.

python -m experiments.train dictionary --run-dir runs/dictionary
python -m experiments.train dictionary --data.name ACTIVATIONS --model.width 4096 \
    --model.sparsifier.active 32 --run-dir runs/activations

ACTIVATIONS is a folder of shards (see `ae_jax.data.shards`), or an .npy or .npz file.

Two cores: about 9 s.
Expected: a squared error of 0.678 per test image, with 8 of 256 latents active.
"""

from ae_jax.models import Dictionary
from ae_jax.sparsifiers import TopK
from experiments.config import Config, Train

CONFIG = Config(
    model=Dictionary(width=256, sparsifier=TopK(active=8), center="mean"),
    train=Train(epochs=200, batch_size=128, schedule="cosine"),
)
