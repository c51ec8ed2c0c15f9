"""Penalties on the latents: few active ones, or latents that change little when the input does."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from ae_jax import losses
from ae_jax.bottlenecks import Bottleneck
from ae_jax.core import Batch, BatchTerm, Outputs, Term, Wrapper
from ae_jax.spec import Spec, require


@dataclass(frozen=True, kw_only=True)
class L1(Spec):
    """``weight * sum_j |z_j|``: the sum over latents, the mean over examples.

    It is Keras' ``activity_regularizer``.
    """

    kind: ClassVar[str] = "l1"

    weight: float = 1e-4

    def __post_init__(self) -> None:
        super().__post_init__()
        _not_negative(self.weight)

    def check(self, bottleneck: Bottleneck) -> None:
        """Any bottleneck will do."""

    def wrap(self, module: nn.Module) -> nn.Module:
        return module

    def terms(self) -> dict[str, Term | BatchTerm]:
        return {"l1": Term(_l1, self.weight)}


@dataclass(frozen=True, kw_only=True)
class KLSparsity(Spec):
    """``weight * sum_j KL(target || mean activation of latent j over the batch)``.

    Source: Ng, Sparse autoencoder (CS294A lecture notes), 2011.
    """

    kind: ClassVar[str] = "kl_sparsity"

    weight: float = 1e-4
    target: float = 0.1
    """The mean activation that is asked of every latent."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _not_negative(self.weight)
        if isinstance(self.target, int | float):
            require(0 < self.target < 1, "target", self.target, "must be in (0, 1)")

    def check(self, bottleneck: Bottleneck) -> None:
        """Raises `ValueError` unless activations lie in (0, 1)."""
        sigmoid = getattr(bottleneck, "activation", None) == "sigmoid"
        needs = "KL sparsity needs latents in (0, 1): a latent_dim and the activation 'sigmoid'"
        require(sigmoid and bottleneck.latent_dim is not None, "bottleneck", bottleneck, needs)

    def wrap(self, module: nn.Module) -> nn.Module:
        return module

    def terms(self) -> dict[str, Term | BatchTerm]:
        return {"sparsity_kl": BatchTerm(self._kl, self.weight)}

    def _kl(self, outputs: Outputs, batch: Batch, axis_name: str | None) -> Array:
        mask = batch.get("mask")
        return losses.sparsity_kl(outputs["z"], self.target, where=mask, axis_name=axis_name)


@dataclass(frozen=True, kw_only=True)
class Jacobian(Spec):
    """``weight * ||dz/dx||_F^2``, summed over latents and input, the mean over examples.

    Source: Rifai et al., Contractive auto-encoders: explicit invariance during feature extraction,
    2011.
    """

    kind: ClassVar[str] = "jacobian"

    weight: float = 1e-4
    probes: int | None = None
    """Random directions of Hutchinson's estimate, in training and in test rows. None computes
    the norm exactly, in one backward pass per latent."""

    def __post_init__(self) -> None:
        super().__post_init__()
        _not_negative(self.weight)
        ok = self.probes is None or self.probes >= 1
        require(ok, "probes", self.probes, "must be at least 1")

    def check(self, bottleneck: Bottleneck) -> None:
        """Raises `ValueError` for discrete latents. Of a stochastic bottleneck it is the mean that
        changes little."""
        discrete = not getattr(bottleneck, "reparametrized", True)
        require(not discrete, "bottleneck", bottleneck, "discrete latents have no Jacobian")

    def wrap(self, module: nn.Module) -> nn.Module:
        """`module` with ``"jacobian"`` [B] among its outputs."""
        return WithJacobian(module, self.probes)

    def terms(self) -> dict[str, Term | BatchTerm]:
        return {"jacobian": Term(_jacobian, self.weight)}


Penalty = L1 | KLSparsity | Jacobian


class WithJacobian(Wrapper):
    """`inner`, with the squared norm of its encoder's Jacobian among the outputs."""

    probes: int | None

    def __call__(self, x: Array, **columns: Any) -> Any:
        outputs: Any = self.inner(x, **columns)
        if self.is_initializing():
            return outputs
        inner, variables = self.inner.unbind()  # jax transforms need a pure function
        probes = None
        if self.probes is not None and self.has_rng("latent"):
            shape = (self.probes, *outputs["z"].shape)
            probes = jax.random.rademacher(self.make_rng("latent"), shape, outputs["z"].dtype)

        def encode(x: Array) -> Any:
            return inner.apply(variables, x, **columns, method="encode")

        return {**outputs, "jacobian": jacobian_norm(encode, x, probes=probes)}


def jacobian_norm(
    encode: Callable[[Array], Array], x: Array, *, probes: Array | None = None
) -> Array:
    """``||dz/dx||_F^2`` of each example, [B], with ``encode``: [B, ...] -> [B, ...latents].

    Exact: one backward pass per latent. With `probes` [n, B, ...latents] of zero mean and unit
    covariance it is Hutchinson's estimate, ``mean_n ||probe_n^T dz/dx||^2``, one pass each:
    unbiased, for latents too many for the exact sum.

    Source: Rifai et al., Contractive auto-encoders, 2011, equation 1; Hutchinson, A stochastic
    estimator of the trace of the influence matrix, 1989.
    """
    z, pullback = jax.vjp(encode, x)

    def squared_norm(cotangent: Array) -> Array:
        (row,) = pullback(jnp.zeros_like(z) + cotangent)  # varies over devices where z does
        return jnp.square(row).sum(range(1, x.ndim))

    if probes is not None:
        return jax.vmap(squared_norm)(probes).mean(0)
    size = z[0].size
    units = jnp.eye(size, dtype=z.dtype).reshape(size, 1, *z.shape[1:])
    return jax.vmap(squared_norm)(jnp.broadcast_to(units, (size, *z.shape))).sum(0)


def _l1(outputs: Outputs, batch: Batch) -> Array:
    return losses.l1_sparsity(outputs["z"])


def _jacobian(outputs: Outputs, batch: Batch) -> Array:
    norm: Array = outputs["jacobian"]
    return norm


def _not_negative(weight: Any) -> None:
    if isinstance(weight, int | float):  # a sweep's is traced
        require(weight >= 0, "weight", weight, "must not be negative")
