"""The base class of all stochastic bottlenecks: posteriors q(z | x)."""

from typing import ClassVar

from ae_jax.spec import Spec


class Posterior(Spec):
    """A posterior q(z | x). A subclass is a specification with a `latent_dim`.

    Its module has these methods, with `h` [B, ...features] from the encoder:

    * ``__call__(h, samples=None) -> {"z": ..., its parameters}``, z drawn with the ``latent``
      stream, and the center of q without: [B, latent_dim], or [samples, B, latent_dim];
    * ``posterior(h)``: its parameters alone, and ``encode(h) -> [B, latent_dim]``: the center;
    * ``log_prob(outputs) -> [..., B]``: log q(z | x) in nats, of z and the parameters in `outputs`
      (or of the outputs of ``__call__`` alone, see `density_anywhere`).

    Where latents do not fill R^n, it may have two more:

    * ``decoder_input(z)``: what the decoder reads of any z, such as its projection to the space;
    * ``geodesic(a, b, t)``: the point at a share t of the shortest path from `a` to `b`.
    """

    stochastic: ClassVar[bool] = True
    latent_dim: int

    space: ClassVar[str] = "real"
    """Where the latents live. A prior must live there too."""
    reparametrized: ClassVar[bool] = True
    """Whether samples carry the gradient of the parameters. Those of discrete latents do not."""
    density_anywhere: ClassVar[bool] = True
    """Whether the density is known at any z, or only at the posterior's own samples."""
    factorized: ClassVar[bool] = False
    """Whether the latents of an example are independent, so that a KL divergence is the sum of
    those of each latent."""

    @property
    def params(self) -> tuple[str, ...]:
        """The top-level names of the module's parameters."""
        raise NotImplementedError
