"""Sparse autoencoders: few active latents, by an L1 penalty or a target activation rate."""

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from ae_jax.models.autoencoder import AE
from ae_jax.models.penalties import L1, KLSparsity
from ae_jax.models.vanilla import Vanilla


@dataclass(frozen=True, kw_only=True)
class Sparse(Vanilla):
    """`Vanilla` with a penalty on its latents.

    The penalty is a sum over latents (see `L1`, `KLSparsity`). The reconstruction error beside it
    is the mean over elements unless ``reduction="sum"``.

    Source: Ng, Sparse autoencoder (CS294A lecture notes), 2011 (KL).
    """

    kind: ClassVar[str] = "sparse"

    penalty: Literal["l1", "kl"] = "l1"
    """kl needs activations in (0, 1): ``latent_activation="sigmoid"``."""
    weight: float = 1e-4
    target: float = 0.1
    """The mean activation that kl asks of every latent."""

    def parts(self) -> AE:
        """The skeleton with this family's choices."""
        kl = KLSparsity(weight=self.weight, target=self.target)
        penalty = L1(weight=self.weight) if self.penalty == "l1" else kl
        return replace(super().parts(), penalties=(penalty,))
