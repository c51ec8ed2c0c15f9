"""Pretraining: layer by layer, by stacked RBMs, or a classifier head on a trained encoder."""

from ae_jax.pretraining.classify import accuracy, classifier, freeze_encoder, labeled, with_encoder
from ae_jax.pretraining.greedy import fit_greedy
from ae_jax.pretraining.rbm import pretrain_rbm_stack

__all__ = [
    "accuracy",
    "classifier",
    "fit_greedy",
    "freeze_encoder",
    "labeled",
    "pretrain_rbm_stack",
    "with_encoder",
]
