"""The prior that a flow makes of N(0, I)."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from ae_jax.bottlenecks import Posterior
from ae_jax.networks.activations import Activation
from ae_jax.networks.autoregressive import AffineAutoregressive
from ae_jax.networks.coupling import AffineCoupling
from ae_jax.networks.flow import Flow, check_sizes
from ae_jax.ops.densities import gaussian_log_prob
from ae_jax.priors.prior import PriorSpec
from ae_jax.spec import require


@dataclass(frozen=True, kw_only=True)
class FlowPrior(PriorSpec):
    """``log p(z) = log N(f(z); 0, I) + log |det df/dz|`` with a learned invertible f.

    * ``realnvp``: affine coupling, fast in both directions (Dinh et al., Density estimation using
      real NVP, 2017);
    * ``maf``: masked autoregressive, whose samples are computed latent by latent (Papamakarios et
      al., Masked autoregressive flow for density estimation, 2017).

    The flow starts near the identity. Source, as a prior of a variational autoencoder: Chen et al.,
    Variational lossy autoencoder, 2017, section 3.2.
    """

    kind: ClassVar[str] = "flow_prior"

    flow: Literal["realnvp", "maf"] = "realnvp"
    steps: int = 4
    widths: tuple[int, ...] = (64, 64)
    """Units of the hidden layers of each step's network."""
    activation: Activation = "relu"
    """The activation of these layers."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_sizes(self.steps, self.widths)

    def check(self, bottleneck: Posterior) -> None:
        """Raises `ValueError` for a coupling flow of one latent."""
        ok = self.flow == "maf" or bottleneck.latent_dim >= 2
        needs = "a coupling flow needs at least 2 latents: use flow='maf'"
        require(ok, "latent_dim", bottleneck.latent_dim, needs)

    def module(
        self, latent_dim: int, event_shape: tuple[int, ...], *, unit_interval: bool = False
    ) -> nn.Module:
        """The module (see `PriorSpec`)."""
        kind = AffineCoupling if self.flow == "realnvp" else AffineAutoregressive
        steps = [kind(latent_dim, self.widths, self.activation) for _ in range(self.steps)]
        return FlowPriorModule(latent_dim, Flow(tuple(steps)))


class FlowPriorModule(nn.Module):
    latent_dim: int
    flow: Flow

    def log_prob(self, z: Array, posterior: Any = None) -> Array:
        noise, log_det = self.flow(z)
        return gaussian_log_prob(noise, 0.0, 0.0) + log_det

    def sample(self, n: int, posterior: Any = None) -> Array:
        shape = (n, self.latent_dim)
        noise = jax.random.normal(self.make_rng("latent"), shape, jnp.float32)
        z: Array = self.flow.inverse(noise)[0]
        return z
