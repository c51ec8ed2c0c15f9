"""Autoencoders in JAX: functional models, one compiled train step, one loss library.

The names below are the everyday ones. They are loaded when first used, so that importing one part
(``import ae_jax.losses``) does not pay for the others. The rest is in the submodules: ``losses``,
``models``, ``networks``, ``data``, ``evaluation``, ``plots``.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ae_jax.objective import Autoencoder, Term, evaluate
    from ae_jax.runs import load_run
    from ae_jax.state import TrainState, init_state
    from ae_jax.training.fit import fit
    from ae_jax.training.step import make_eval_step, make_train_step

__version__ = "0.1.0"

__all__ = [
    "Autoencoder",
    "Term",
    "TrainState",
    "evaluate",
    "fit",
    "init_state",
    "load_run",
    "make_eval_step",
    "make_train_step",
]


def __getattr__(name: str) -> Any:
    match name:
        case "Autoencoder" | "Term" | "evaluate":
            from ae_jax import objective

            return getattr(objective, name)
        case "TrainState" | "fit" | "init_state" | "make_eval_step" | "make_train_step":
            from ae_jax import training

            return getattr(training, name)
        case "load_run":
            from ae_jax import runs

            return runs.load_run
    raise AttributeError(f"module 'ae_jax' has no attribute {name!r}")
