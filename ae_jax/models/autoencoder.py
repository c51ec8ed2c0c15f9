"""The skeleton: an autoencoder is a choice for each of its slots, and all choices combine."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, get_args

import flax.linen as nn

from ae_jax.bottlenecks import Bottleneck, Linear, Posterior
from ae_jax.core import Autoencoder, BatchTerm, Player, Term
from ae_jax.likelihoods import Error, Likelihood
from ae_jax.models.bound import ELBO, Bound
from ae_jax.models.condition import Condition, ConditionalDecoder, ConditionalEncoder
from ae_jax.models.corruption import Noise
from ae_jax.models.modules import (
    GeodesicModule,
    KLModule,
    LatentVariableModule,
    PlainModule,
    QuantileModule,
    StandardModule,
    TiedModule,
)
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
    bound: Bound = ELBO()
    """Of log p(x), on which a model with a stochastic bottleneck is trained."""
    corruption: Noise | None = None
    """Noise on the input; the target stays clean."""
    penalties: tuple[Penalty, ...] = ()
    condition: Condition | None = None
    """A column that a model with a stochastic bottleneck is given beside x."""
    tied: bool = False
    """Use the encoder's kernels, transposed, in the decoder (for a mirrored MLP)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        bottleneck, likelihood = self.bottleneck, self.likelihood
        if bottleneck.latent_dim is None:
            needs = f"{_name(self.network)} needs a number; a ConvNet or an RNN can do without"
            require(not self.network.flat_features, "latent_dim", None, needs)
        if isinstance(bottleneck, Posterior):
            needs = f"{_name(bottleneck)} latents need a likelihood, such as Bernoulli()"
            require(likelihood.density, "likelihood", likelihood, needs)
            needs = _needs_prior(bottleneck)
            require(self.prior.space == bottleneck.space, "prior", self.prior, needs)
            self.prior.check(bottleneck)
            self.bound.check(bottleneck, self.prior)
            needs = "depends on a condition: give one"
            ok = self.condition is not None or not self.prior.conditional
            require(ok, "prior", self.prior, needs)
            needs = "the pseudo-inputs of a VampPrior have no condition: choose another prior"
            ok = self.condition is None or self.prior.kind != "vamp"
            require(ok, "prior", self.prior, needs)
            needs = "needs a network with hidden layers, and no Jacobian penalty"
            bare = getattr(self.network, "widths", None) == ()
            nested = any(penalty.kind == "jacobian" for penalty in self.penalties)
            ok = not getattr(self.bound, "partial", False) or not (bare or nested)
            require(ok, "partial", True, needs)
        else:
            needs = f"is for a stochastic bottleneck, such as Gaussian(), not {_name(bottleneck)}"
            require(self.bound == ELBO(), "bound", self.bound, needs)
            require(self.prior == StandardNormal(), "prior", self.prior, needs)
            require(self.condition is None, "condition", self.condition, needs)
        if self.tied:
            needs = "tied weights need an MLP, whose decoder mirrors its encoder"
            require(isinstance(self.network, MLP), "network", self.network, needs)
            decoder = getattr(self.network, "decoder_widths", None)
            require(decoder is None, "decoder_widths", decoder, f"{needs}: use None")
            gated = getattr(self.network, "gated", False)
            require(not gated, "gated", gated, "tied weights need layers without gates")
            needs = "tied weights need a Linear bottleneck"
            require(not bottleneck.stochastic, "bottleneck", bottleneck, needs)
            needs = "tied weights give one number per element, and it needs more"
            require(likelihood.output_shape((1,)) == (1,), "likelihood", likelihood, needs)
        if getattr(likelihood, "binarize", False):
            needs = "binarize would draw the target from the noisy input: use one of the two"
            require(self.corruption is None, "corruption", self.corruption, needs)
        if self.corruption is not None:
            needs = f"{_name(self.bound)} weighs samples by the input itself: remove the corruption"
            require(self.bound.draws.samples is None, "bound", self.bound, needs)
        kinds = [penalty.kind for penalty in self.penalties]
        for penalty in self.penalties:
            penalty.check(bottleneck)
            needs = f"give {_name(penalty)} once, with the sum of the weights"
            require(kinds.count(penalty.kind) == 1, "penalties", kinds, needs)

    def parts(self) -> "AE":
        """Itself; of a family, the skeleton that it is a preset of."""
        return self

    def build(self, event_shape: Sequence[int]) -> Autoencoder:
        """The autoencoder for examples of `event_shape`."""
        shape, condition = tuple(event_shape), self.condition
        columns: dict[str, tuple[int, ...]] = dict.fromkeys(self.network.columns, ())
        if condition is not None:
            condition.check_shape(shape)
            coupled = getattr(self.likelihood, "couples_channels", False) and len(shape) == 3
            ok = condition.unknown is None or not (coupled and shape[-1] == 3)
            needs = "has no density of single channels: unknown elements need another likelihood"
            require(ok, "likelihood", self.likelihood, needs)
            columns[condition.column] = condition.shape
        module = self._module(shape)
        objective: dict[str, Term | BatchTerm] = dict(self.likelihood.terms())
        players: dict[str, Player] = {}
        if isinstance(self.bottleneck, Posterior):
            objective |= self.bound.terms(self.bottleneck, self.prior)
            if condition is not None:
                objective = {name: condition.scoring(term) for name, term in objective.items()}
            players = self.bound.players(self.bottleneck)
        for penalty in self.penalties:
            module = penalty.wrap(module)
            objective |= penalty.terms()
        if self.corruption is not None:
            module = self.corruption.wrap(module, clip=self._in_unit_interval)
        return Autoencoder(
            module=module,
            objective=objective,
            event_shape=shape,
            spec=self,
            support=self.likelihood.support,
            output_range=self.likelihood.output_range,
            columns=columns,
            integers=("label",)
            if condition is None or condition.classes is None
            else (condition.column,),
            given=() if condition is None else (condition.column,),
            check=None if condition is None else condition.check,
            players=players,
            at_most_examples=self.prior.at_most_examples,
        )

    @property
    def _in_unit_interval(self) -> bool:
        return self.likelihood.support in ("unit_interval", "bytes")

    def _module(self, shape: tuple[int, ...]) -> nn.Module:
        likelihood, bottleneck = self.likelihood.module(shape), self.bottleneck
        if self.tied:
            assert isinstance(self.network, MLP) and isinstance(bottleneck, Linear)  # checked above
            return TiedModule(self.network, bottleneck, shape, likelihood)
        flat = bottleneck.latent_dim is not None
        encoder = self.network.encoder(shape)
        decoder = self.network.decoder(self.likelihood.output_shape(shape), flat_latent=flat)
        if self.condition is not None:
            encoder = ConditionalEncoder(encoder, self.condition, self.network.flat_features)
            decoder = ConditionalDecoder(decoder, self.condition)
        encoder = self.likelihood.encoder(encoder)
        if not isinstance(bottleneck, Posterior):
            return PlainModule(encoder, bottleneck.module(), decoder, likelihood)
        limited = self._in_unit_interval
        prior = self.prior.module(bottleneck.latent_dim, shape, unit_interval=limited)
        exact = bottleneck.kind in self.prior.exact_kl
        kinds = {
            (False, False): LatentVariableModule,
            (True, False): QuantileModule,
            (False, True): KLModule,
            (True, True): StandardModule,
        }
        kind = kinds[hasattr(prior, "quantile"), exact and hasattr(prior, "latent_kl")]
        posterior = bottleneck.module()
        kind = GeodesicModule if hasattr(posterior, "geodesic") else kind
        parts = (encoder, posterior, decoder, likelihood, prior)
        return kind(*parts, self.bound.draws, exact, self.condition)


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


def _needs_prior(bottleneck: Posterior) -> str:
    """The end of a message about a prior that lives elsewhere than the latents."""
    space = bottleneck.space
    names = [f"{prior.__name__}()" for prior in get_args(Prior) if prior.space == space]
    use = " or ".join(names) or "one of that space"
    return f"the latents of {_name(bottleneck)} live in the space {space!r}: use {use}"


def _name(spec: Spec) -> str:
    return type(spec).__name__
