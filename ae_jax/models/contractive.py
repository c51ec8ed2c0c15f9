"""Contractive autoencoders: latents that change little when the input does."""

from dataclasses import dataclass, replace
from typing import ClassVar

from ae_jax.models.autoencoder import AE
from ae_jax.models.penalties import Jacobian
from ae_jax.models.vanilla import Vanilla


@dataclass(frozen=True, kw_only=True)
class Contractive(Vanilla):
    """`Vanilla` plus ``weight * ||dz/dx||_F^2`` (see `Jacobian`).

    Source: Rifai et al., Contractive auto-encoders: explicit invariance during feature extraction,
    2011.
    """

    kind: ClassVar[str] = "contractive"

    weight: float = 1e-4
    probes: int | None = None
    """Random directions of Hutchinson's estimate. None computes the norm exactly."""

    def parts(self) -> AE:
        """The skeleton with this family's choices."""
        penalty = Jacobian(weight=self.weight, probes=self.probes)
        return replace(super().parts(), penalties=(penalty,))
