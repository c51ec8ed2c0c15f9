"""A stochastic bottleneck: a Gaussian posterior that a flow bends."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import flax.linen as nn
from jax import Array

from ae_jax.bottlenecks.gaussian import Gaussian, GaussianModule
from ae_jax.core import Outputs
from ae_jax.networks.activations import Activation
from ae_jax.networks.autoregressive import AffineAutoregressive
from ae_jax.networks.flow import Flow, check_sizes
from ae_jax.networks.planar import Planar, Radial


@dataclass(frozen=True, kw_only=True)
class FlowPosterior(Gaussian):
    """``z = f(e, x)`` with e from a diagonal Gaussian, and ``log q(z) = log q(e) - log |det f'|``.

    All steps of the flow f read the encoder's features:

    * ``iaf``: inverse autoregressive with gates, fast to sample (Kingma et al., Improved
      variational inference with inverse autoregressive flow, 2016);
    * ``maf``: masked autoregressive, whose samples are computed latent by latent (Papamakarios et
      al., Masked autoregressive flow for density estimation, 2017);
    * ``planar`` and ``radial``: one bend a step, so they need many (Rezende & Mohamed, Variational
      inference with normalizing flows, 2015).

    The density is known only at the posterior's own samples.
    """

    kind: ClassVar[str] = "flow_posterior"
    density_anywhere: ClassVar[bool] = False
    factorized: ClassVar[bool] = False

    flow: Literal["iaf", "maf", "planar", "radial"] = "iaf"
    steps: int = 2
    widths: tuple[int, ...] = (128,)
    """Units of the hidden layers of each autoregressive step's network."""
    activation: Activation = "elu"
    """The activation of these layers."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_sizes(self.steps, self.widths)

    @property
    def params(self) -> tuple[str, ...]:
        """See `Posterior`."""
        return ("mean", "logvar", "flow")

    def module(self) -> nn.Module:
        """A module ``[B, ...features] -> {"z", "mean", "logvar", "log_posterior"}``.

        ``mean`` and ``logvar`` are those of e, and ``log_posterior`` is log q(z | x) in nats.
        """
        steps = tuple(self._step() for _ in range(self.steps))
        return FlowPosteriorModule(self.latent_dim, Flow(steps), inverse=self.flow == "maf")

    def _step(self) -> nn.Module:
        if self.flow in ("planar", "radial"):
            return Planar(self.latent_dim) if self.flow == "planar" else Radial(self.latent_dim)
        gates = self.flow == "iaf"
        return AffineAutoregressive(self.latent_dim, self.widths, self.activation, gates)


class FlowPosteriorModule(GaussianModule):
    """Without noise, z is what the flow makes of the Gaussian's mean."""

    flow: Flow
    inverse: bool = False
    """Whether samples take the flow's inverse, as those of MAF do."""

    def __call__(self, h: Array, samples: int | None = None) -> Outputs:
        outputs = super().__call__(h, samples)
        log_prob = super().log_prob(outputs)
        z, log_det = self._bend(outputs["z"], h)
        return {**outputs, "z": z, "log_posterior": log_prob - log_det}

    def encode(self, h: Array) -> Array:
        return self._bend(super().encode(h), h)[0]

    def log_prob(self, outputs: Outputs) -> Array:
        """``log q(z | x)`` in nats of the samples that `__call__` returned: [..., B]."""
        log_prob: Array = outputs["log_posterior"]
        return log_prob

    def _bend(self, e: Array, h: Array) -> tuple[Array, Array]:
        h = h.reshape(h.shape[0], -1)
        return self.flow.inverse(e, h) if self.inverse else self.flow(e, h)
