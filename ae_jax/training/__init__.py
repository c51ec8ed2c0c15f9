"""One train step for every model, and the loops around it: a run, a sweep."""

from ae_jax.core import TrainState, init_state
from ae_jax.training.diagnosis import DivergedError
from ae_jax.training.fit import FitResult, fit
from ae_jax.training.plan import Plan, make_plan
from ae_jax.training.rows import Callback
from ae_jax.training.step import make_eval_step, make_train_step
from ae_jax.training.sweep import SweepResult, sweep

__all__ = [
    "Callback",
    "DivergedError",
    "FitResult",
    "Plan",
    "SweepResult",
    "TrainState",
    "fit",
    "init_state",
    "make_eval_step",
    "make_plan",
    "make_train_step",
    "sweep",
]
