"""Sparse autoencoders: few active units, by an L1 penalty or a target activation rate."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from jax import Array

from ae_jax import losses
from ae_jax.core import Autoencoder, Batch, Outputs, Term
from ae_jax.models.deterministic import Vanilla
from ae_jax.spec import require


@dataclass(frozen=True, kw_only=True)
class Sparse(Vanilla):
    """`Vanilla` with a penalty on the code's activations.

    The convention, which decides what a weight means: the L1 term is the *sum* over the code's
    units, the *mean* over examples (Keras' ``activity_regularizer``); the KL term is the sum over
    units of KL(target || mean activation over the batch). The reconstruction error beside them is
    the mean over elements unless ``reduction="sum"``.

    Source: Ng, Sparse autoencoder (CS294A lecture notes), 2011 (KL).
    """

    kind: ClassVar[str] = "sparse"

    penalty: Literal["l1", "kl"] = "l1"
    """kl needs activations in (0, 1): ``latent_activation="sigmoid"``."""
    weight: float = 1e-4
    target: float = 0.1
    """The mean activation that kl asks of every unit."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.weight, int | float):  # a sweep's is traced
            require(self.weight >= 0, "weight", self.weight, "must not be negative")
        if self.penalty == "kl":
            ok = self.latent_activation == "sigmoid" and self.latent_dim is not None
            require(ok, "penalty", "kl", "needs a code layer with latent_activation='sigmoid'")
            if isinstance(self.target, int | float):
                require(0 < self.target < 1, "target", self.target, "must be in (0, 1)")

    def build(self, event_shape: Sequence[int]) -> Autoencoder:
        """The autoencoder for examples of `event_shape`."""
        ae = super().build(event_shape)
        if self.penalty == "l1":
            term = Term(_l1, self.weight)
        else:
            term = Term(self._kl, self.weight, whole_batch=True)
        return replace(ae, objective={**ae.objective, self.penalty: term})

    def _kl(self, outputs: Outputs, batch: Batch, *, axis_name: str | None) -> Array:
        mask = batch.get("mask")
        return losses.sparsity_kl(outputs["z"], self.target, where=mask, axis_name=axis_name)


def _l1(outputs: Outputs, batch: Batch) -> Array:
    return losses.l1_sparsity(outputs["z"])
