"""What every autoencoder has: features of the input, and how far the output is from it."""

from typing import Literal

import flax.linen as nn
from jax import Array

from ae_jax import losses
from ae_jax.core import Batch, Outputs, Term, event_mask
from ae_jax.networks.rnn import RNNEncoder

Loss = Literal["bce", "mse", "mae", "huber"]
LOSSES = {"bce": losses.bce, "mse": losses.mse, "mae": losses.mae, "huber": losses.huber}


def features(encoder: nn.Module, x: Array, length: Array | None) -> Array:
    """``encoder(x)``; `ValueError` for lengths given to a network that cannot heed them."""
    if length is None:
        return encoder(x)
    if not isinstance(encoder, RNNEncoder):
        raise ValueError("length: only a recurrent network reads sequences of several lengths")
    return encoder(x, length)


def reconstruction_term(loss: Loss, reduction: losses.Reduction) -> dict[str, Term]:
    """``{loss: Term}`` comparing ``logits`` (bce) or ``recon`` (the others) with the clean input.

    ``reduction="mean"`` is per element (pixel), ``"sum"`` per example. Padded steps of sequences
    do not count.
    """
    key = output_key(loss)

    def fn(outputs: Outputs, batch: Batch) -> Array:
        return LOSSES[loss](outputs[key], batch["x"], reduction=reduction, where=event_mask(batch))

    return {loss: Term(fn)}


def output_key(loss: Loss) -> str:
    """What a decoder's last layer is under this loss: logits, or the reconstruction itself."""
    return "logits" if loss == "bce" else "recon"
