"""Plain autoencoders: no noise, no penalty."""

from dataclasses import dataclass
from typing import ClassVar

from ae_jax.bottlenecks import Linear
from ae_jax.likelihoods import Error
from ae_jax.likelihoods.error import Loss
from ae_jax.losses import Reduction
from ae_jax.models.autoencoder import AE, Preset
from ae_jax.networks import MLP, ConvNet, Network
from ae_jax.networks.activations import Activation


@dataclass(frozen=True, kw_only=True)
class Vanilla(Preset):
    """The plain autoencoder, shallow or deep: ``Vanilla(latent_dim=32)`` has one hidden layer.

    Source: Hinton & Salakhutdinov, Reducing the dimensionality of data with neural networks, 2006.
    """

    kind: ClassVar[str] = "vanilla"

    network: Network = MLP()
    latent_dim: int | None = 32
    """Latents, after a dense layer. None (convolutional and recurrent networks) makes the smallest
    feature map, or the last state, the latents."""
    latent_activation: Activation = "relu"
    loss: Loss = "bce"
    """bce needs data in [0, 1]; the others take any floats."""
    output_activation: Activation = "linear"
    """The activation of the reconstruction. bce needs linear, since its output is logits."""
    reduction: Reduction = "mean"
    """How the loss reduces an example's elements: mean is per pixel, sum is per example."""

    def parts(self) -> AE:
        """The skeleton with this family's choices."""
        return AE(
            network=self.network,
            bottleneck=Linear(latent_dim=self.latent_dim, activation=self.latent_activation),
            likelihood=Error(
                loss=self.loss,
                reduction=self.reduction,
                output_activation=self.output_activation,
            ),
        )


@dataclass(frozen=True, kw_only=True)
class Convolutional(Vanilla):
    """`Vanilla` with a convolutional network, whose smallest feature map is the latent.

    Source: Masci et al., Stacked convolutional auto-encoders, 2011.
    """

    kind: ClassVar[str] = "convolutional"

    network: Network = ConvNet()
    latent_dim: int | None = None
