"""Bounds on log p(x): what a model with a stochastic bottleneck is trained on."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

import jax.numpy as jnp
import optax
from jax import Array

from ae_jax import losses
from ae_jax.bottlenecks import Posterior
from ae_jax.core import Batch, BatchTerm, Outputs, Player, Term
from ae_jax.priors import Prior
from ae_jax.spec import Spec, require

Estimator = Literal["reparametrized", "stl", "dreg", "vimco", "score"]
ENCODER = "encoder"  # the player of a partial bound


class Draws(NamedTuple):
    """How a module draws its latents (see `IWAE`). One draw has no leading axis of samples."""

    samples: int | None = None
    estimator: Estimator = "reparametrized"
    chunk: int | None = None


@dataclass(frozen=True, kw_only=True)
class ELBO(Spec):
    """The loss is the negative evidence lower bound in nats per example: ``nll + beta * kl``.

    Source: Kingma & Welling, Auto-Encoding Variational Bayes, 2014; beta: Higgins et al., beta-VAE,
    2017.
    """

    kind: ClassVar[str] = "elbo"

    beta: float = 1.0
    warmup_steps: int = 0
    """Steps over which beta grows linearly from 0 (Bowman et al., 2016; Sønderby et al., 2016)."""
    free_bits: float = 0.0
    """Nats per latent below which the batch's mean KL is not reduced further (Kingma et al.,
    Improved variational inference with inverse autoregressive flow, 2016)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.warmup_steps >= 0, "warmup_steps", self.warmup_steps, "must not be negative")
        for name in ("beta", "free_bits"):
            value = getattr(self, name)
            if isinstance(value, int | float):  # a sweep's is traced
                require(value >= 0, name, value, "must not be negative")

    def players(self, bottleneck: Posterior) -> dict[str, Player]:
        """All is trained on one loss."""
        return {}

    def check(self, bottleneck: Posterior, prior: Prior) -> None:
        """Raises `ValueError` for samples without a gradient, and for free bits without a KL
        divergence of each latent."""
        remedy = "use bound=IWAE(estimator='vimco')"
        needs = f"{type(bottleneck).__name__} samples carry no gradient: {remedy}"
        require(bottleneck.reparametrized, "bound", self, needs)
        names = f"{type(bottleneck).__name__} and {type(prior).__name__}"
        needs = f"free bits need a KL that is a sum over latents, not that of {names}"
        free = not isinstance(self.free_bits, int | float) or self.free_bits > 0
        sums = bottleneck.kind in prior.exact_kl and bottleneck.factorized
        sums = sums and hasattr(prior, "latent_kl")
        require(not free or sums, "free_bits", self.free_bits, needs)

    @property
    def draws(self) -> Draws:
        """One sample, reparametrized."""
        return Draws()

    def terms(self, bottleneck: Posterior, prior: Prior) -> dict[str, Term | BatchTerm]:
        """``{"kl": ...}``, in nats, unweighted in the metrics."""
        return self.kl_terms(_kl(bottleneck, prior), getattr(prior, "latent_kl", None))

    def kl_terms(
        self,
        kl: Callable[[Outputs, Batch], Array],
        parts: Callable[[Outputs], Array] | None,
    ) -> dict[str, Term | BatchTerm]:
        """The terms of `kl` [B], in nats; free bits are of each of its `parts` [B, K]."""
        beta: Any = self.beta
        if self.warmup_steps:
            beta = optax.linear_schedule(0.0, self.beta, self.warmup_steps)
        if isinstance(self.free_bits, int | float) and self.free_bits <= 0:
            return {"kl": Term(kl, beta)}

        def free_kl(outputs: Outputs, batch: Batch, axis_name: str | None) -> Array:
            """``sum_j max(free_bits, mean_B KL_j)``."""
            assert parts is not None  # checked above
            each, mask = parts(outputs), batch.get("mask")
            each = losses.batch_mean(each, where=mask, axis_name=axis_name)
            return jnp.maximum(each, self.free_bits).sum()

        return {"kl": Term(kl, None), "free_kl": BatchTerm(free_kl, beta)}


@dataclass(frozen=True, kw_only=True)
class IWAE(Spec):
    """The loss is the negative importance-weighted bound of several samples, in nats per example.

    The module draws ``groups * samples`` latents and encodes once. The encoder's gradient is one of
    these estimators:

    * ``reparametrized``: the bound's own gradient;
    * ``stl``: without the score of q (Roeder et al., Sticking the landing, 2017), which is right in
      expectation for one sample, and biased for several;
    * ``dreg``: doubly reparametrized (Tucker et al., 2019), whose signal-to-noise ratio does not
      fall with the number of samples;
    * ``vimco``: the score of q with each sample's part of the bound (Mnih & Rezende, 2016), for any
      latents, discrete ones too;
    * ``score``: the score of q with the whole bound.

    Source: Burda et al., Importance weighted autoencoders, 2016. Groups and partial: Rainforth et
    al., Tighter variational bounds are not necessarily better, 2018 (MIWAE, PIWAE, CIWAE).
    """

    kind: ClassVar[str] = "iwae"

    samples: int = 5
    """K: the samples of one bound."""
    groups: int = 1
    """M: the loss is the mean of this number of bounds (MIWAE)."""
    partial: bool = False
    """Train the encoder on the mean of the M bounds, and all else on the one bound of all samples
    (PIWAE)."""
    elbo_weight: float = 0.0
    """The weight of the mean log weight beside the bound, from 0 (IWAE) to 1 (ELBO) (CIWAE)."""
    estimator: Estimator = "reparametrized"
    chunk: int | None = None
    """Decode this number of samples at a time, to save memory; the backward pass decodes again."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("samples", "groups", "chunk"):
            value = getattr(self, name)
            require(value is None or value >= 1, name, value, "must be at least 1")
        if isinstance(self.elbo_weight, int | float):  # a sweep's is traced
            ok = 0 <= self.elbo_weight <= 1
            require(ok, "elbo_weight", self.elbo_weight, "must be in [0, 1]")
        total = self.samples * self.groups
        ok = self.chunk is None or total % self.chunk == 0
        require(ok, "chunk", self.chunk, f"must divide the {total} samples")
        if self.estimator == "vimco":
            ok = self.samples > 1
            require(ok, "samples", self.samples, "vimco compares samples: it needs at least 2")
            ok = isinstance(self.elbo_weight, int | float) and self.elbo_weight == 0
            require(ok, "elbo_weight", self.elbo_weight, "must be 0 for vimco")

    def check(self, bottleneck: Posterior, prior: Prior) -> None:
        """Raises `ValueError` for an estimator that the bottleneck cannot have."""
        name, needs_path = type(bottleneck).__name__, self.estimator not in ("vimco", "score")
        remedy = f"{name} samples carry no gradient: use 'vimco'"
        require(bottleneck.reparametrized or not needs_path, "estimator", self.estimator, remedy)
        remedy = f"{name} knows its density at its own samples only: use 'reparametrized'"
        ok = bottleneck.density_anywhere or self.estimator == "reparametrized"
        require(ok, "estimator", self.estimator, remedy)
        ok = self.chunk is None or bottleneck.kind != "hamiltonian"
        require(ok, "chunk", self.chunk, f"{name} decodes all samples at once: use None")

    @property
    def draws(self) -> Draws:
        """All samples of all groups."""
        return Draws(self.samples * self.groups, self.estimator, self.chunk)

    def terms(self, bottleneck: Posterior, prior: Prior) -> dict[str, Term | BatchTerm]:
        """``{"iwae"}``, the negative bound, and ``"miwae"``, of the encoder, for a partial one; the
        metrics ``"nll"``, ``-log p(x | z)``, and ``"kl"``."""

        def negative(groups: int) -> Callable[[Outputs, Batch], Array]:
            return lambda outputs, batch: -self._bound(outputs, groups)

        def whole(outputs: Outputs, batch: Batch) -> Array:
            log_weight = outputs["log_weight"]
            return -losses.importance_bound(log_weight, elbo_weight=self.elbo_weight)

        def nll(outputs: Outputs, batch: Batch) -> Array:
            return -jnp.asarray(outputs["log_likelihood"]).mean(0)

        metrics = {"nll": Term(nll, None), "kl": Term(_kl(bottleneck, prior), None)}
        if self.partial:
            player = Term(negative(self.groups), player=ENCODER)
            return {"iwae": Term(whole), "miwae": player, **metrics}
        return {"iwae": Term(negative(self.groups)), **metrics}

    def players(self, bottleneck: Posterior) -> dict[str, Player]:
        """The encoder, where it has a loss of its own."""
        return {ENCODER: Player(("encoder", *bottleneck.params))} if self.partial else {}

    def _bound(self, outputs: Outputs, groups: int) -> Array:
        log_weight = outputs["log_weight"]
        if len(log_weight) == 1:  # without noise: the posterior mean alone
            groups = 1
        options: Any = {"groups": groups, "elbo_weight": self.elbo_weight}
        if self.estimator == "dreg":
            return losses.doubly_reparametrized(log_weight, outputs["path"], **options)
        bound = losses.importance_bound(log_weight, **options)
        if self.estimator not in ("vimco", "score"):
            return bound
        if self.estimator == "vimco" and len(log_weight) == 1:  # no other sample to compare with
            return bound
        signal = jnp.broadcast_to(bound, log_weight.shape)
        if self.estimator == "vimco":
            signal = losses.vimco_signal(log_weight, groups=groups) / groups
        return losses.with_score(bound, signal, outputs["log_posterior"])


Bound = ELBO | IWAE


def _kl(bottleneck: Posterior, prior: Prior) -> Callable[[Outputs, Batch], Array]:
    """``KL(q(z | x) || p(z))`` in nats, [B]: exact where that is known, else of the samples."""
    if bottleneck.kind in prior.exact_kl:
        return lambda outputs, batch: prior.kl(outputs)

    def sampled(outputs: Outputs, batch: Batch) -> Array:
        kl = jnp.asarray(outputs["log_posterior"] - outputs["log_prior"])
        return kl if kl.ndim == 1 else kl.mean(0)

    return sampled
