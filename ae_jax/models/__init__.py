"""The models: one file per family, each a specification that builds an `Autoencoder`.

`Model` is the closed table: what a config file or a command line can name, by its ``kind``.
"""

from ae_jax.models.deterministic import Convolutional, Vanilla
from ae_jax.models.variational import Variational

Model = Vanilla | Convolutional | Variational

__all__ = ["Convolutional", "Model", "Vanilla", "Variational"]
