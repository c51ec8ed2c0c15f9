"""Denoising autoencoders: reconstruct the clean input from a corrupted one, on any network."""

from dataclasses import dataclass, replace
from typing import ClassVar

from ae_jax.models.autoencoder import AE
from ae_jax.models.corruption import Noise, NoiseKind
from ae_jax.models.vanilla import Vanilla


@dataclass(frozen=True, kw_only=True)
class Denoising(Vanilla):
    """`Vanilla` with noise on its input; the target stays clean.

    Test metrics are on corrupted inputs too, except for ``dropout``, a regularizer. `encode` and
    `decode` add no noise: give them the noisy input itself.

    Source: Vincent et al., Extracting and composing robust features with denoising autoencoders,
    2008.
    """

    kind: ClassVar[str] = "denoising"

    noise: NoiseKind = "gaussian"
    level: float = 0.5
    """Standard deviation for gaussian; for the others the fraction of elements."""

    def parts(self) -> AE:
        """The skeleton with this family's choices."""
        return replace(super().parts(), corruption=Noise(noise=self.noise, level=self.level))
