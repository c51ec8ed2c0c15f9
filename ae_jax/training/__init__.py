"""One train step for every model, the loop around it, and ways to start from trained parameters."""

from ae_jax.state import TrainState, init_state
from ae_jax.training.classify import accuracy, classifier, freeze_encoder, labelled, with_encoder
from ae_jax.training.diagnose import Diverged
from ae_jax.training.fit import Callback, FitResult, fit
from ae_jax.training.greedy import fit_greedy
from ae_jax.training.rbm import pretrain_rbm_stack
from ae_jax.training.step import make_eval_step, make_train_step
from ae_jax.training.sweep import SweepResult, sweep

__all__ = [
    "Callback",
    "Diverged",
    "FitResult",
    "SweepResult",
    "TrainState",
    "accuracy",
    "classifier",
    "fit",
    "fit_greedy",
    "freeze_encoder",
    "init_state",
    "labelled",
    "make_eval_step",
    "make_train_step",
    "pretrain_rbm_stack",
    "sweep",
    "with_encoder",
]
