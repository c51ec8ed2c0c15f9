"""A stochastic bottleneck: a Gaussian posterior that the model's own density moves."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from ae_jax.bottlenecks.gaussian import Gaussian, GaussianModule, sample_noise
from ae_jax.core import Outputs
from ae_jax.ops.densities import gaussian_log_prob
from ae_jax.spec import require

Slope = Callable[[Array], Array]
"""``d/dz log p(x, z)`` of z [..., B, latent_dim], of the same shape."""


@dataclass(frozen=True, kw_only=True)
class Hamiltonian(Gaussian):
    """``z`` from a diagonal Gaussian, then moved by Hamiltonian dynamics with a random momentum.

    Leapfrog steps follow the gradient of ``log p(x, z)``. The momentum is r_0 / sqrt(tempering) at
    first, with r_0 from N(0, I), and is cooled after each step until it is r. The moves as a whole
    keep volume. Samples are therefore weighed with
    ``log q(z_0) + log N(r_0; 0, I) - log N(r; 0, I)`` in the place of log q(z). The size of the
    steps, one for each latent, and the tempering are learned.

    Source: Caterini, Doucet & Sejdinovic, Hamiltonian variational auto-encoder, 2018, algorithm 1.
    """

    kind: ClassVar[str] = "hamiltonian"
    density_anywhere: ClassVar[bool] = False
    factorized: ClassVar[bool] = False

    steps: int = 4
    step_size: float = 0.05
    """Where the sizes of the steps start."""
    largest_step: float = 0.5
    """What no step exceeds."""
    tempering: float = 0.5
    """Where the tempering starts, in (0, 1]; 1 is no tempering, and then it is not learned."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.steps >= 1, "steps", self.steps, "must be at least 1")
        low, high = self.step_size, self.largest_step
        if isinstance(low, int | float) and isinstance(high, int | float):  # a sweep's are traced
            require(0 < low < high, "step_size", low, f"must be between 0 and largest_step={high}")
        if isinstance(self.tempering, int | float):
            require(0 < self.tempering <= 1, "tempering", self.tempering, "must be in (0, 1]")

    @property
    def params(self) -> tuple[str, ...]:
        """See `Posterior`."""
        names = ("mean", "logvar", "step_size")
        return (*names, "tempering") if self._tempered else names

    @property
    def _tempered(self) -> bool:
        return not isinstance(self.tempering, int | float) or self.tempering < 1

    def module(self) -> nn.Module:
        """A module ``[B, ...features] -> {"z", "mean", "logvar", "log_posterior"}``.

        Its `move` then moves z (see `LatentVariableModule`).
        """
        sizes = (self.step_size, self.largest_step)
        tempering = self.tempering if self._tempered else None
        return HamiltonianModule(self.latent_dim, self.steps, *sizes, tempering)


class HamiltonianModule(GaussianModule):
    """Without noise, z is the Gaussian's mean, which does not move."""

    steps: int
    first_step: float | Array
    largest_step: float | Array
    first_tempering: float | Array | None

    def setup(self) -> None:
        super().setup()
        self.step_size = self._share(
            "step_size", self.first_step / self.largest_step, (self.latent_dim,)
        )
        self.tempering = None
        if self.first_tempering is not None:
            self.tempering = self._share("tempering", self.first_tempering, ())

    def _share(self, name: str, first: float | Array, shape: tuple[int, ...]) -> Array:
        """A parameter whose sigmoid starts at `first`."""

        def init(key: Array) -> Array:
            return jnp.full(shape, jax.scipy.special.logit(jnp.float32(first)))

        return self.param(name, init)

    def __call__(self, h: Array, samples: int | None = None) -> Outputs:
        outputs = super().__call__(h, samples)
        return {**outputs, "log_posterior": super().log_prob(outputs)}

    def log_prob(self, outputs: Outputs) -> Array:
        """``log q(z | x)`` in nats of the samples that were drawn and moved: [..., B]."""
        log_prob: Array = outputs["log_posterior"]
        return log_prob

    def move(self, outputs: Outputs, slope: Slope) -> Outputs:
        """`outputs` with z after all steps, and its ``log_posterior``."""
        z = outputs["z"]
        samples = None if z.ndim == 2 else len(z)
        noise = sample_noise(self.make_rng("latent"), z.shape[-2:], samples)
        size = self.largest_step * jax.nn.sigmoid(self.step_size.astype(jnp.float32))
        roots = self._roots()
        momentum = noise / roots[0]
        force = slope(z)
        for step in range(1, self.steps + 1):
            momentum = momentum + 0.5 * size * force
            z = z + (size * momentum).astype(z.dtype)
            force = slope(z)
            momentum = (momentum + 0.5 * size * force) * roots[step - 1] / roots[step]
        moved = gaussian_log_prob(noise, 0.0, 0.0) - gaussian_log_prob(momentum, 0.0, 0.0)
        return {**outputs, "z": z, "log_posterior": outputs["log_posterior"] + moved}

    def _roots(self) -> list[Array]:
        """``sqrt(beta_k)`` of k = 0 to the last step, from the tempering to 1.

        ``1 / sqrt(beta_k)`` falls quadratically with k (equation 9 of the paper).
        """
        if self.tempering is None:
            return [jnp.ones(())] * (self.steps + 1)
        inverse = jax.nn.sigmoid(self.tempering.astype(jnp.float32)) ** -0.5
        shares = [(k / self.steps) ** 2 for k in range(self.steps + 1)]
        return [1.0 / ((1.0 - inverse) * share + inverse) for share in shares]
