"""The Bernoulli likelihood of binary data, which can be drawn from gray data on the fly."""

from dataclasses import dataclass
from typing import ClassVar

import jax
from jax import Array

from ae_jax import losses
from ae_jax.core import Batch, Outputs, Term, event_mask
from ae_jax.likelihoods.module import LikelihoodModule
from ae_jax.spec import Spec


@dataclass(frozen=True, kw_only=True)
class Bernoulli(Spec):
    """``-log p(x | z)`` in nats, summed over elements, with logits from the decoder.

    Of gray values it is a cross-entropy, and no likelihood.
    """

    kind: ClassVar[str] = "bernoulli"
    density: ClassVar[bool] = True
    unit_interval: ClassVar[bool] = True
    output_range: ClassVar[tuple[float, float]] = (0, 1)

    binarize: bool = False
    """Draw every x as Bernoulli(x) each time, input and target, in training and in its test rows
    (Burda et al., Importance weighted autoencoders, 2016, section 5)."""

    def module(self) -> LikelihoodModule:
        """A module ``h -> {"logits": h}``."""
        return BernoulliModule(self.binarize)

    def terms(self) -> dict[str, Term]:
        """``{"nll": ...}``."""
        return {"nll": Term(_nll)}


class BernoulliModule(LikelihoodModule):
    binarize: bool

    def observe(self, x: Array) -> Array:
        if self.binarize and self.has_rng("corrupt"):
            return binarized(self.make_rng("corrupt"), x)
        return x

    def __call__(self, h: Array) -> Outputs:
        return {"logits": h}

    def log_prob(self, outputs: Outputs, batch: Batch) -> Array:
        return -_nll(outputs, batch)


def binarized(key: Array, x: Array) -> Array:
    """0 or 1, drawn as Bernoulli(x), for every element of `x` [B, ...] in [0, 1].

    Source: Salakhutdinov & Murray, On the quantitative analysis of deep belief networks, 2008.
    """
    return jax.random.bernoulli(key, x).astype(x.dtype)


def _nll(outputs: Outputs, batch: Batch) -> Array:
    x = outputs.get("target", batch["x"])
    return losses.bce(outputs["logits"], x, where=event_mask(batch))
