"""One train step for every model, and the loop around it."""

from ae_jax.state import TrainState, init_state
from ae_jax.training.fit import FitResult, fit
from ae_jax.training.step import make_eval_step, make_train_step

__all__ = ["FitResult", "TrainState", "fit", "init_state", "make_eval_step", "make_train_step"]
