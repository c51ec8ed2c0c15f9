"""The skeleton: an autoencoder as a choice for each of its slots, all of which combine."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import flax.linen as nn

from ae_jax.bottlenecks import Bottleneck, Linear
from ae_jax.core import Autoencoder, BatchTerm, Term
from ae_jax.likelihoods import Error, Likelihood
from ae_jax.models.bound import ELBO
from ae_jax.models.corruption import Noise
from ae_jax.models.modules import LatentVariableModule, PlainModule, TiedModule
from ae_jax.models.penalties import Penalty
from ae_jax.networks import MLP, Network
from ae_jax.priors import Prior, StandardNormal
from ae_jax.spec import Spec, require


@dataclass(frozen=True, kw_only=True)
class AE(Spec):
    """``x -> corruption -> network -> bottleneck -> z -> network -> likelihood``, and penalties.

    The families (`Vanilla`, `Denoising`, `Variational`, ...) are presets of it. What they cannot
    say is said here: a denoising variational autoencoder on a convolutional network is
    ``AE(network=ConvNet(), bottleneck=Gaussian(), likelihood=Bernoulli(), corruption=Noise())``.
    """

    kind: ClassVar[str] = "ae"

    network: Network = MLP()
    bottleneck: Bottleneck = Linear()
    likelihood: Likelihood = Error()
    prior: Prior = StandardNormal()
    """Over the latents of a stochastic bottleneck."""
    bound: ELBO = ELBO()
    """How a stochastic bottleneck is pressed towards the prior."""
    corruption: Noise | None = None
    """Of the input; the target stays clean."""
    penalties: tuple[Penalty, ...] = ()
    tied: bool = False
    """Whether the decoder uses the encoder's kernels, transposed: for a mirrored MLP."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.bottleneck.latent_dim is None:
            needs = "only convolutional and recurrent networks do without a latent layer"
            require(not self.network.flat_features, "latent_dim", None, needs)
        if self.bottleneck.stochastic:
            needs = "a stochastic bottleneck needs a density, such as Bernoulli()"
            require(self.likelihood.density, "likelihood", self.likelihood, needs)
        if self.tied:
            ok = isinstance(self.network, MLP) and self.network.decoder_widths is None
            require(ok, "network", self.network, "tied weights need an MLP, mirrored")
            needs = "tied weights need a Linear bottleneck"
            require(not self.bottleneck.stochastic, "bottleneck", self.bottleneck, needs)
        binarize = getattr(self.likelihood, "binarize", False)
        needs = "noise on the input and binarize draw the input twice: choose one"
        require(not (binarize and self.corruption), "corruption", self.corruption, needs)
        for penalty in self.penalties:
            penalty.check(self.bottleneck)

    def parts(self) -> "AE":
        """Itself; of a family, the skeleton that it is a preset of."""
        return self

    def build(self, event_shape: Sequence[int]) -> Autoencoder:
        """The autoencoder for examples of `event_shape`."""
        shape = tuple(event_shape)
        module = self._module(shape)
        objective: dict[str, Term | BatchTerm] = dict(self.likelihood.terms())
        if self.bottleneck.stochastic:
            objective |= self.bound.terms(self.prior)
        for penalty in self.penalties:
            module = penalty.wrap(module)
            (name, term), *_ = penalty.terms().items()
            require(name not in objective, "penalties", name, "each term can occur only once")
            objective[name] = term
        if self.corruption is not None:
            module = self.corruption.wrap(module, clip=self.likelihood.unit_interval)
        return Autoencoder(
            module=module,
            objective=objective,
            event_shape=shape,
            spec=self,
            unit_interval=self.likelihood.unit_interval,
            columns=dict.fromkeys(self.network.columns, ()),
        )

    def _module(self, shape: tuple[int, ...]) -> nn.Module:
        likelihood, bottleneck = self.likelihood.module(), self.bottleneck
        if self.tied:
            assert isinstance(self.network, MLP) and isinstance(bottleneck, Linear)  # checked above
            return TiedModule(self.network, bottleneck, shape, likelihood)
        flat = bottleneck.latent_dim is not None
        encoder = self.network.encoder(shape)
        decoder = self.network.decoder(shape, flat_latent=flat)
        if not bottleneck.stochastic:
            return PlainModule(encoder, bottleneck.module(), decoder, likelihood)
        prior = self.prior.module(bottleneck.latent_dim or 0)
        return LatentVariableModule(encoder, bottleneck.module(), decoder, likelihood, prior)


@dataclass(frozen=True, kw_only=True)
class Preset(Spec):
    """A family: options of its own, and what they mean for the skeleton."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.parts()  # which checks what the options say

    def parts(self) -> AE:
        """The skeleton with this family's choices."""
        raise NotImplementedError

    def build(self, event_shape: Sequence[int]) -> Autoencoder:
        """The autoencoder for examples of `event_shape`."""
        return replace(self.parts().build(event_shape), spec=self)
