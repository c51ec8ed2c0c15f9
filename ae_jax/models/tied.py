"""Tied weights: the decoder is the encoder transposed, with biases of its own."""

from dataclasses import dataclass, replace
from typing import ClassVar

from ae_jax.models.autoencoder import AE
from ae_jax.models.vanilla import Vanilla


@dataclass(frozen=True, kw_only=True)
class Tied(Vanilla):
    """`Vanilla` on an MLP with half the weights: the decoder uses the encoder's kernels.

    Source: Vincent et al., Stacked denoising autoencoders, 2010, section 2.2.
    """

    kind: ClassVar[str] = "tied"

    def parts(self) -> AE:
        """The skeleton with this family's choices."""
        return replace(super().parts(), tied=True)
