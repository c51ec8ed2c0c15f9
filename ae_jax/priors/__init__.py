"""Priors over latents. `Prior` is the closed table of specifications."""

from ae_jax.priors.standard_normal import StandardNormal

Prior = StandardNormal

__all__ = ["Prior", "StandardNormal"]
