"""The base class of all priors p(z)."""

from collections.abc import Mapping
from typing import Any, ClassVar

import flax.linen as nn
from jax import Array

from ae_jax.bottlenecks import Posterior
from ae_jax.spec import Spec


class PriorSpec(Spec):
    """A prior p(z). A subclass is a specification.

    Its module has these methods, where `posterior` is a function that returns the parameters of
    q(z | x) of any x [n, *event_shape], for a prior that is made of posteriors:

    * ``log_prob(z, posterior=None) -> [B]``: log p(z) in nats of z [B, latent_dim];
    * ``sample(n, posterior=None) -> [n, latent_dim]``, drawn with the ``latent`` stream.

    It may have ``quantile(u)`` and ``latent_kl(outputs)``, as `StandardNormal` does.
    """

    space: ClassVar[str] = "real"
    """Where the latents live, the same as those of the bottleneck."""
    conditional: ClassVar[bool] = False
    """Whether it is p(z | c) of a condition c (see `ConditionalNormal`)."""
    exact_kl: ClassVar[tuple[str, ...]] = ()
    """Kinds of bottlenecks for which `kl` is known. For others it is estimated by samples."""

    def check(self, bottleneck: Posterior) -> None:
        """Raises `ValueError` for a bottleneck that does not suit it."""

    def module(
        self, latent_dim: int, event_shape: tuple[int, ...], *, unit_interval: bool = False
    ) -> nn.Module:
        """The module, for data of `event_shape`, which lies in [0, 1] if `unit_interval`."""
        raise NotImplementedError

    def kl(self, outputs: Mapping[str, Any]) -> Array:
        """``KL(q(z | x) || p(z))`` in nats, exact, of a bottleneck's outputs: [B]."""
        raise NotImplementedError

    @property
    def at_most_examples(self) -> Mapping[str, int]:
        """Options that must not exceed the number of training examples (see `Autoencoder`)."""
        return {}
