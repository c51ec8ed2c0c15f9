"""The models: one file per family, each a specification that builds an `Autoencoder`.

`Model` is the closed table: what a config file or a command line can name, by its ``kind``.
"""

from ae_jax.models.contractive import Contractive
from ae_jax.models.denoising import Denoising
from ae_jax.models.deterministic import Convolutional, Vanilla
from ae_jax.models.sparse import Sparse
from ae_jax.models.tied import Tied
from ae_jax.models.variational import Variational

Model = Vanilla | Convolutional | Tied | Denoising | Sparse | Contractive | Variational

__all__ = [
    "Contractive",
    "Convolutional",
    "Denoising",
    "Model",
    "Sparse",
    "Tied",
    "Vanilla",
    "Variational",
]
