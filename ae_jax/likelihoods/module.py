"""The Linen side of a likelihood, which shares the scope of the model that it belongs to."""

import flax.linen as nn
from jax import Array

from ae_jax.core import Batch, Outputs


class LikelihoodModule(nn.Module):
    """A subclass defines ``__call__(h) -> Outputs`` for a decoder's last layer `h`."""

    def observe(self, x: Array) -> Array:
        """What is observed of the data `x`: both the model's input and its target."""
        return x

    def __call__(self, h: Array) -> Outputs:
        raise NotImplementedError

    def log_prob(self, outputs: Outputs, batch: Batch) -> Array:
        """``log p(x | z)`` in nats: [B]."""
        raise NotImplementedError

    def sample(self, outputs: Outputs) -> Array:
        """A draw of x from p(x | z), in the units of the data, with the ``latent`` stream."""
        raise NotImplementedError
