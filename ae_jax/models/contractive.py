"""Contractive autoencoders: a code that changes little when the input does."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from ae_jax.core import Autoencoder, Batch, Outputs, Term
from ae_jax.models.deterministic import Vanilla
from ae_jax.spec import require


def jacobian_norm(
    encode: Callable[[Array], Array], x: Array, *, probes: Array | None = None
) -> Array:
    """``||dz/dx||_F^2`` of each example, [B, ...], with ``encode``: [B, ...] -> [B, ...code].

    Exact: one backward pass per unit of the code. With `probes` [n, B, ...code] of zero mean and
    unit covariance it is Hutchinson's estimate, ``mean_n ||probe_n^T dz/dx||^2``, one pass each:
    unbiased, for codes too wide for the exact sum.

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


class ContractiveModule(nn.Module):
    """`inner`, with the squared norm of its encoder's Jacobian among the outputs."""

    inner: nn.Module
    probes: int | None

    def __call__(self, x: Array) -> Outputs:
        outputs: Any = self.inner(x)
        if self.is_initializing():
            return outputs
        inner, variables = self.inner.unbind()  # jax transforms need a pure function
        probes = None
        if self.probes is not None and self.has_rng("latent"):
            shape = (self.probes, *outputs["z"].shape)
            probes = jax.random.rademacher(self.make_rng("latent"), shape, outputs["z"].dtype)

        def encode(x: Array) -> Any:
            return inner.apply(variables, x, method="encode")

        norm = jacobian_norm(encode, x, probes=probes)
        return {**outputs, "jacobian": norm}

    def encode(self, x: Array) -> Array:
        return self.inner.encode(x)

    def decode(self, z: Array) -> Outputs:
        return self.inner.decode(z)


@dataclass(frozen=True, kw_only=True)
class Contractive(Vanilla):
    """`Vanilla` plus ``weight * ||dz/dx||_F^2``, summed over code and input, mean over examples.

    Source: Rifai et al., Contractive auto-encoders: explicit invariance during feature extraction,
    2011.
    """

    kind: ClassVar[str] = "contractive"

    weight: float = 1e-4
    probes: int | None = None
    """Random directions of Hutchinson's estimate, in training and in test rows. None computes
    the norm exactly, in as many backward passes as the code has units."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.weight, int | float):  # a sweep's is traced
            require(self.weight >= 0, "weight", self.weight, "must not be negative")
        ok = self.probes is None or self.probes >= 1
        require(ok, "probes", self.probes, "must be at least 1")

    def build(self, event_shape: Sequence[int]) -> Autoencoder:
        """The autoencoder for examples of `event_shape`."""
        ae = super().build(event_shape)
        module = ContractiveModule(ae.module, self.probes)
        objective = {**ae.objective, "jacobian": Term(_jacobian, self.weight)}
        return replace(ae, module=module, objective=objective)


def _jacobian(outputs: Outputs, batch: Batch) -> Array:
    return outputs["jacobian"]
