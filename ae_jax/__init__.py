"""Autoencoders in JAX: functional models, one compiled train step, one loss library.

The names below are the everyday ones. Each is loaded when it is first used, so importing one part
(``import ae_jax.losses``) does not pay for the others. The rest is in the submodules: ``losses``,
``models``, ``networks``, ``data``, ``evaluation``, ``plots``.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ae_jax.core import Autoencoder, Term, TrainState, compute_loss, init_state
    from ae_jax.storage.export import export, load_exported
    from ae_jax.storage.runs import load_run
    from ae_jax.training.fit import fit
    from ae_jax.training.step import make_eval_step, make_train_step
    from ae_jax.training.sweep import sweep

__version__ = "0.1.0"

_HOMES = {
    "core": ("Autoencoder", "Term", "TrainState", "compute_loss", "init_state"),
    "storage.export": ("export", "load_exported"),
    "storage.runs": ("load_run",),
    "training": ("fit", "make_eval_step", "make_train_step", "sweep"),
}
__all__ = [
    "Autoencoder",
    "Term",
    "TrainState",
    "compute_loss",
    "export",
    "fit",
    "init_state",
    "load_exported",
    "load_run",
    "make_eval_step",
    "make_train_step",
    "sweep",
]


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"ae_jax.{module}"), name)
    raise AttributeError(f"module 'ae_jax' has no attribute {name!r}")
