"""Reconstruction errors: losses of the output that are no densities, or not in nats."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import flax.linen as nn
from jax import Array

from ae_jax import losses
from ae_jax.core import Batch, Outputs, Support, Term, event_mask
from ae_jax.likelihoods.module import LikelihoodModule
from ae_jax.losses import Reduction
from ae_jax.networks.activations import RANGES, Activation, activation
from ae_jax.spec import Spec, require

Loss = Literal["bce", "mse", "mae", "huber"]
LOSSES = {"bce": losses.bce, "mse": losses.mse, "mae": losses.mae, "huber": losses.huber}


@dataclass(frozen=True, kw_only=True)
class Error(Spec):
    """A loss between the output and the clean input, per element or summed over an example."""

    kind: ClassVar[str] = "error"
    density: ClassVar[bool] = False

    loss: Loss = "bce"
    """bce needs data in [0, 1]; the others take any floats."""
    reduction: Reduction = "mean"
    """How the loss reduces an example's elements: mean is per pixel, sum is per example."""
    output_activation: Activation = "linear"
    """The activation of the reconstruction. bce needs linear, since its output is logits."""

    def __post_init__(self) -> None:
        super().__post_init__()
        ok = self.loss != "bce" or self.output_activation == "linear"
        require(ok, "output_activation", self.output_activation, "bce takes logits: use 'linear'")

    @property
    def support(self) -> Support:
        """bce's x lies in [0, 1]."""
        return "unit_interval" if self.loss == "bce" else "real"

    @property
    def output_range(self) -> tuple[float, float]:
        """The values that reconstructions can have."""
        return (0, 1) if self.loss == "bce" else RANGES[self.output_activation]

    def output_shape(self, event_shape: tuple[int, ...]) -> tuple[int, ...]:
        """The decoder gives one number per element."""
        return event_shape

    def encoder(self, encoder: nn.Module) -> nn.Module:
        """The encoder itself."""
        return encoder

    def module(self, event_shape: tuple[int, ...]) -> LikelihoodModule:
        """A module ``h -> {"logits"}`` for bce, ``{"recon"}`` for the others."""
        return ErrorModule(self._key, self.output_activation)

    def terms(self) -> dict[str, Term]:
        """``{loss: its term}``. Padded steps of sequences do not count."""
        loss, key, reduction = LOSSES[self.loss], self._key, self.reduction

        def fn(outputs: Outputs, batch: Batch) -> Array:
            return loss(outputs[key], batch["x"], reduction=reduction, where=event_mask(batch))

        return {self.loss: Term(fn)}

    @property
    def _key(self) -> str:
        return "logits" if self.loss == "bce" else "recon"


class ErrorModule(LikelihoodModule):
    output: str
    activation: Activation

    def __call__(self, h: Array) -> Outputs:
        return {self.output: activation(self.activation)(h)}
