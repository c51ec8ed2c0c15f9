"""The Linen module of dictionaries."""

import math
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array, lax

from ae_jax.core import Outputs
from ae_jax.models.dictionaries.unit_rows import normalized
from ae_jax.ops.sparse_code import top_k
from ae_jax.sparsifiers import Code, Context, DenseCode, Tables

LATENTS = "latents"
"""The collection of untrained state: ages, thresholds, coefficients."""
STATISTICS = "statistics"
"""The collection of what training examples are divided by."""


class DictionaryModule(nn.Module):
    """``x -> z -> recon``, with z [B, width] a code of few active latents.

    Tables have one row for each latent. Outputs are computed in the units of normalized data,
    except ``recon``.
    """

    spec: Any
    event_shape: tuple[int, ...]
    target_shape: tuple[int, ...]

    def setup(self) -> None:
        spec = self.spec
        size, out = math.prod(self.event_shape), math.prod(self.target_shape)
        self.decoder = self.param("decoder", unit_normal, (spec.width, out), jnp.float32)
        self.bias = self.param("bias", nn.initializers.zeros, (out,), jnp.float32)
        if not spec.tied:

            def init(key: Array, shape: tuple[int, ...], dtype: Any) -> Array:
                return unit_normal(key, shape, dtype) if spec.target_dim else self.decoder

            self.encoder = self.param("encoder", init, (spec.width, size), jnp.float32)
        zeros = nn.initializers.zeros
        if spec.sparsifier.biased:
            self.encoder_bias = self.param("encoder_bias", zeros, (spec.width,), jnp.float32)
        if spec.skip:
            self.skip = self.param("skip", zeros, (size, out), jnp.float32)
        self.sparsifier = spec.sparsifier.module(spec.width)
        self.age = self.variable(LATENTS, "age", jnp.zeros, (spec.width,), jnp.int32)
        if spec.normalize:
            self.x_scale = self.variable(STATISTICS, "x_scale", jnp.ones, (), jnp.float32)
            if spec.target_dim:
                self.target_scale = self.variable(
                    STATISTICS, "target_scale", jnp.ones, (), jnp.float32
                )

    def __call__(
        self,
        x: Array,
        mask: Array | None = None,
        step: Array | int = 0,
        axis_name: str | None = None,
        target: Array | None = None,
    ) -> Outputs:
        rows = jnp.ones(len(x), jnp.float32) if mask is None else mask
        context = Context(rows, jnp.asarray(step), axis_name)
        tables = self.tables()
        inputs = self._inputs(x)
        code, extra = self._code(inputs, tables, context)
        wanted, scale = (x, self._x_scale) if target is None else (target, self._target_scale)
        wanted = self._flat(wanted) / jnp.asarray(scale, wanted.dtype)
        skip = inputs @ self.skip if self.spec.skip else jnp.zeros((), self.bias.dtype)
        constant = self.bias + skip
        recon, z = code.decode(tables.decoder) + constant, code.dense(self.spec.width)
        outputs: dict[str, Any] = {
            "z": {"z": z, "skip": skip} if self.spec.skip else z,
            "active": lax.stop_gradient(code.active()),
            "error": wanted - recon,
            "recon": self._to_data(recon),
            **extra,
        }
        if (sizes := self._sizes()) is not None:
            prefixes = code.decode_prefixes(tables.decoder, sizes)
            outputs["prefix_errors"] = wanted - prefixes - constant
        if "gate" in extra:  # the gate alone must reconstruct, with a decoder that it cannot change
            frozen = lax.stop_gradient((tables.decoder, constant))
            outputs["gate_error"] = wanted - extra["gate"] @ frozen[0] - frozen[1]
        outputs["dead"] = dead = self.age.value >= self.spec.dead_after
        if self.spec.revives:
            outputs["dead_error"] = self._dead_error(inputs, tables, dead, outputs["error"])
        if self.is_mutable_collection(LATENTS) and not self.is_initializing():
            fired = code.fired(self.spec.width, rows)
            if axis_name is not None:
                fired = lax.psum(fired.astype(jnp.int32), axis_name) > 0
            self.age.value = jnp.where(fired, 0, self.age.value + 1)
        return outputs

    def encode(self, x: Array) -> Any:
        """z, the activations of all latents: [B, width]; with a skip connection
        ``{"z", "skip": [B, *target]}``."""
        z = self.features(x)
        return {"z": z, "skip": self._inputs(x) @ self.skip} if self.spec.skip else z

    def features(self, x: Array) -> Array:
        """z, the activations of all latents: [B, width]."""
        context = Context(jnp.ones(len(x), jnp.float32), jnp.int32(0), None)
        code, _ = self._code(self._inputs(x), self.tables(), context)
        return code.dense(self.spec.width)

    def decode(self, latents: Any) -> Outputs:
        """The reconstruction of what `encode` returns."""
        z, skip = (latents["z"], latents["skip"]) if self.spec.skip else (latents, 0.0)
        return {"recon": self._to_data(z @ self.decoder + self.bias + skip)}

    def directions(self) -> Array:
        """What one unit of each latent adds to a reconstruction: [width, *target_shape]."""
        scale = self._target_scale if self.spec.target_dim else self._x_scale
        return (scale * self.decoder).reshape(self.spec.width, *self.target_shape)

    def tables(self) -> Tables:
        """The encoder, its bias, the decoder, and the norms by which latents are compared."""
        spec, decoder = self.spec, self.decoder
        encoder = decoder if spec.tied else self.encoder
        bias = self.encoder_bias if spec.sparsifier.biased else jnp.zeros(spec.width, decoder.dtype)
        norms = self._norms() if spec.sources or not spec.unit_norm else None
        return Tables(encoder, bias, decoder, norms)

    def _norms(self) -> Array:
        if not self.spec.sources:
            return jnp.linalg.norm(self.decoder, axis=1)
        return jnp.linalg.norm(self.decoder.reshape(-1, *self.event_shape), axis=2).sum(1)

    def _code(
        self, inputs: Array, tables: Tables, context: Context
    ) -> tuple[Code, Mapping[str, Array]]:
        code, extra = self.sparsifier(inputs, tables, context._replace(last=not self.spec.refine))
        for stage in range(1, self.spec.refine + 1):
            rest = inputs - code.decode(tables.decoder)
            product = lax.dot_general(rest, tables.encoder, (((1,), (1,)), ((), ())))
            pre = code.dense(self.spec.width) + product
            last = stage == self.spec.refine
            code, extra = self.sparsifier.activate(pre, tables, context._replace(last=last))
        if self.spec.prune is not None and not self.is_mutable_collection(LATENTS):
            z = code.dense(self.spec.width)
            rest = inputs - code.decode(tables.decoder)
            alone = rest @ tables.decoder.T + z * jnp.square(tables.decoder).sum(1)
            code = DenseCode(jnp.where(alone > self.spec.prune, z, 0.0))
        return code, extra

    def _dead_error(self, inputs: Array, tables: Tables, dead: Array, error: Array) -> Array:
        """The residual of the live latents, less what the best dead ones make of it: [B, D]."""
        residual = lax.stop_gradient(error)
        count = self.spec.dead_k or max(residual.shape[1] // 2, 1)
        count = min(count, self.spec.width)

        def revive() -> Array:
            pre = jnp.where(dead, jax.nn.relu(tables.pre(inputs)), 0.0)
            # Not the last column: XLA would sort whole rows to take it.
            least = top_k(lax.stop_gradient(pre), count)[0].min(1, keepdims=True)
            return residual - jnp.where(pre >= least, pre, 0.0) @ tables.decoder

        # Without dead latents it is 0, and costs nothing.
        return lax.cond(dead.any(), revive, lambda: 0.0 * residual)

    def _sizes(self) -> tuple[int, ...] | Array | None:
        spec = self.spec
        if not spec.sampled_prefixes:
            return spec.prefixes or None
        whole = jnp.full(1, spec.width, jnp.int32)
        if not self.has_rng("latent"):
            return whole
        share = jax.random.uniform(self.make_rng("latent"), (spec.sampled_prefixes,))
        drawn = jnp.exp(share * math.log(spec.width)).astype(jnp.int32)
        return jnp.concatenate([jnp.sort(jnp.clip(drawn, 1, spec.width)), whole])

    def _inputs(self, x: Array) -> Array:
        flat = self._flat(x) / jnp.asarray(self._x_scale, x.dtype)
        return flat if self.spec.target_dim else flat - self.bias

    def _to_data(self, recon: Array) -> Array:
        scale = self._target_scale if self.spec.target_dim else self._x_scale
        return (scale * recon).reshape(-1, *self.target_shape)

    def _flat(self, x: Array) -> Array:
        return x.reshape(len(x), -1)

    @property
    def _x_scale(self) -> Array | float:
        return self.x_scale.value if self.spec.normalize else 1.0

    @property
    def _target_scale(self) -> Array | float:
        return self.target_scale.value if self.spec.normalize else 1.0


def unit_normal(key: Array, shape: tuple[int, ...], dtype: Any) -> Array:
    """Random rows of norm 1: [W, D]."""
    return normalized(jax.random.normal(key, shape, dtype))
