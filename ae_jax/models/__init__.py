"""The models: a skeleton of slots, and presets of it with their papers.

`Model` is the closed table: what a configuration or a command line can name, by its ``kind``.
"""

from typing import Any

from ae_jax.models.autoencoder import AE, Preset
from ae_jax.models.bound import ELBO, IWAE
from ae_jax.models.condition import Condition
from ae_jax.models.conditional import Conditional
from ae_jax.models.contractive import Contractive
from ae_jax.models.corruption import Noise
from ae_jax.models.denoising import Denoising
from ae_jax.models.dictionaries import Dictionary
from ae_jax.models.hyperspherical import Hyperspherical
from ae_jax.models.importance_weighted import ImportanceWeighted
from ae_jax.models.ladder import Ladder
from ae_jax.models.penalties import L1, Jacobian, KLSparsity
from ae_jax.models.poincare import Poincare
from ae_jax.models.semi_supervised import SemiSupervised
from ae_jax.models.sparse import Sparse
from ae_jax.models.tied import Tied
from ae_jax.models.vanilla import Convolutional, Vanilla
from ae_jax.models.variational import Variational
from ae_jax.models.very_deep import VeryDeep
from ae_jax.spec import Spec, kinds_of, require

Model = (
    AE
    | Vanilla
    | Convolutional
    | Tied
    | Denoising
    | Sparse
    | Contractive
    | Variational
    | ImportanceWeighted
    | Hyperspherical
    | Poincare
    | Ladder
    | VeryDeep
    | Conditional
    | SemiSupervised
    | Dictionary
)

__all__ = [
    "AE",
    "ELBO",
    "IWAE",
    "L1",
    "Condition",
    "Conditional",
    "Contractive",
    "Convolutional",
    "Denoising",
    "Dictionary",
    "Hyperspherical",
    "ImportanceWeighted",
    "Jacobian",
    "KLSparsity",
    "Ladder",
    "Model",
    "Noise",
    "Poincare",
    "Preset",
    "SemiSupervised",
    "Sparse",
    "Tied",
    "Vanilla",
    "Variational",
    "VeryDeep",
    "with_models",
]


def with_models(*specs: type[Spec]) -> Any:
    """`Model`, widened by specifications of one's own: ``Model | Mine``, checked.

    Each is a frozen dataclass, a subclass of `ae_jax.spec.Spec`, with a `kind` that no other has
    and a method ``build(event_shape) -> Autoencoder``. Raises `ValueError` or `TypeError` for
    another.
    """
    union: Any = Model
    for spec in specs:
        if not (isinstance(spec, type) and issubclass(spec, Spec)):
            raise TypeError(f"{spec!r}: must be a class, a subclass of ae_jax.spec.Spec")
        name = spec.__name__
        require(bool(spec.kind), f"{name}.kind", spec.kind, "give it a name for files to use")
        taken = kinds_of(union)
        require(spec.kind not in taken, f"{name}.kind", spec.kind, "is taken: choose another name")
        ok = callable(getattr(spec, "build", None))
        require(ok, name, spec, "needs a method build(event_shape) -> Autoencoder")
        union = union | spec
    return union
