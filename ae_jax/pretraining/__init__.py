"""Ways to start from trained parameters: layer by layer, from RBMs, or a head on an encoder."""

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
