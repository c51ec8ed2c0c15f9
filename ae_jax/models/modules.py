"""The skeleton's Linen modules."""

import math
from itertools import pairwise
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike

from ae_jax import losses
from ae_jax.bottlenecks import Linear
from ae_jax.core import Batch, Outputs
from ae_jax.likelihoods.module import LikelihoodModule
from ae_jax.models.bound import Draws
from ae_jax.models.condition import Condition
from ae_jax.networks import MLP
from ae_jax.networks.activations import activation, kernel_init
from ae_jax.ops.product import product
from ae_jax.spec import require


class PlainModule(nn.Module):
    """``x -> encoder -> bottleneck -> z -> decoder -> likelihood -> outputs``."""

    encoder: nn.Module
    bottleneck: nn.Module
    decoder: nn.Module
    likelihood: LikelihoodModule

    def setup(self) -> None:
        # Their parameters stand beside the encoder's: "code", "mean", "logvar", "recon_logvar".
        nn.share_scope(self, self.bottleneck)
        nn.share_scope(self, self.likelihood)

    def __call__(self, x: Array, **columns: Any) -> Outputs:
        observed = self.likelihood.observe(x)
        outputs = self._draw(observed, **columns)
        target = {} if observed is x else {"target": observed}
        return {**outputs, **self.decode(outputs["z"], **self.given(columns)), **target}

    def encode(self, x: Array, **columns: Any) -> Array:
        z: Array = self.bottleneck.encode(self.encoder(x, **columns))
        return z

    def decode(self, z: Array, **given: Any) -> Outputs:
        read = getattr(self.bottleneck, "decoder_input", None)
        return self.likelihood(self.decoder(z if read is None else read(z), **given))

    def given(self, columns: Batch) -> dict[str, Any]:
        """The columns that the decoder reads too."""
        return {}

    def _draw(self, x: Array, **columns: Any) -> Outputs:
        outputs: Outputs = self.bottleneck(self.encoder(x, **columns))
        return outputs


class LatentVariableModule(PlainModule):
    """With a prior, it is a model of the data: ``p(x) = int p(x | z) p(z) dz``.

    ``z`` among the outputs is the first of several draws.
    """

    prior: nn.Module
    draws: Draws = Draws()
    exact_kl: bool = True
    """Whether nothing but samples needs log q and log p: the KL divergence has a closed form."""
    condition: Condition | None = None
    """A column that encoder, decoder and, if it is conditional, the prior read."""

    def __call__(self, x: Array, **columns: Any) -> Outputs:
        samples, of_prior = self.draws.samples, self._of_prior(columns)
        if samples is None:
            outputs = {**super().__call__(x, **columns), **of_prior}
            return outputs if self.exact_kl else {**outputs, **self._densities(outputs)}
        observed = self.likelihood.observe(x)
        samples = samples if self.has_rng("latent") else 1
        drawn = {**self._draw(observed, samples, **columns), **of_prior}
        first = {**drawn, "z": drawn["z"][0]}
        target = {} if observed is x else {"target": observed}
        weights = self._weights(drawn, {"x": observed, **columns})
        return {**first, **self.decode(first["z"], **self.given(columns)), **weights, **target}

    def decode(self, z: Array, **given: Any) -> Outputs:
        outputs = super().decode(z, **given)
        return outputs if self.condition is None else self.condition.completed(outputs, given)

    def given(self, columns: Batch) -> dict[str, Any]:
        name = None if self.condition is None else self.condition.column
        return {} if name is None else {name: columns[name]}

    def log_weight(self, x: Array, **columns: Any) -> Array:
        """``log p(x, z) - log q(z | x)`` in nats, for one draw from the ``latent`` stream: [B]."""
        outputs = self._draw(x, **columns)
        log_joint = self.log_joint(outputs["z"], x, **columns)
        return log_joint - self.bottleneck.log_prob(outputs)

    def log_joint(self, z: Array, x: Array, **columns: Any) -> Array:
        """``log p(x, z)`` in nats of z [..., B, latent_dim]: [..., B]."""
        flat = z.reshape(-1, *z.shape[-2:])
        log_likelihood = _decoded_log_prob(self, flat, {"x": x, **columns})
        return log_likelihood.reshape(z.shape[:-1]) + self._log_prior(z, self._of_prior(columns))

    def sample(self, n: int, **given: Any) -> Outputs:
        """n latents ``"z"``, drawn from the prior and decoded; ``"x"`` is drawn from p(x | z)."""
        for name, column in given.items():
            require(
                len(column) == n, "n", n, f"must be the number of rows of {name}, {len(column)}"
            )
        if self.prior_is_conditional:
            z = self.prior.sample(n, self._of_prior(given))
        else:
            z = self.prior.sample(n, self._posterior)
        decoded = self.decode(z, **given)
        outputs = {"z": z, "x": self.likelihood.sample(decoded), **decoded}
        return outputs if self.condition is None else self.condition.completed(outputs, given)

    def log_prob(self, decoded: Outputs, batch: Batch) -> Array:
        """``log p(x | z)`` in nats of what `decode` returned: [B]."""
        batch = batch if self.condition is None else self.condition.scored(batch)
        return self.likelihood.log_prob(decoded, batch)

    @property
    def prior_is_conditional(self) -> bool:
        return hasattr(self.prior, "of_condition")

    def _of_prior(self, columns: Batch) -> Outputs:
        """What a conditional prior is of these columns; nothing of others."""
        if self.condition is None or not self.prior_is_conditional:
            return {}
        outputs: Outputs = self.prior.of_condition(self.condition.embed(columns))
        return outputs

    def _posterior(self, x: Array) -> Outputs:
        """What q(z | x) is of any `x` [n, ...], for a prior that is made of posteriors."""
        outputs: Outputs = self.bottleneck.posterior(self.encoder(x))
        return outputs

    def _draw(self, x: Array, samples: int | None = None, **columns: Any) -> Outputs:
        """What the bottleneck draws. One that has ``move`` moves its draws by the density."""
        drawn: Outputs = self.bottleneck(self.encoder(x, **columns), samples)
        if not hasattr(self.bottleneck, "move") or not self.has_rng("latent"):
            return drawn
        if self.is_initializing():
            return drawn
        module, variables = self.unbind()  # jax transforms need a pure function

        def log_joint(z: Array) -> Array:
            each: Any = module.apply(variables, z, x, **columns, method="log_joint")
            return jnp.sum(each)

        moved: Outputs = self.bottleneck.move(drawn, jax.grad(log_joint))
        return moved

    def _densities(self, drawn: Outputs) -> dict[str, Array]:
        log_posterior = self.bottleneck.log_prob(drawn)
        log_prior = self._log_prior(drawn["z"], drawn)
        return {"log_prior": log_prior, "log_posterior": log_posterior}

    def _log_prior(self, z: Array, of_prior: Outputs) -> Array:
        """``log p(z)`` in nats: [..., B]."""
        flat = z.reshape(-1, z.shape[-1])
        if self.prior_is_conditional:
            log_prior: Array = self.prior.log_prob(z, of_prior)
        else:
            log_prior = self.prior.log_prob(flat, self._posterior).reshape(z.shape[:-1])
        return log_prior

    def _weights(self, drawn: Outputs, batch: Batch) -> Outputs:
        """The log weights [K, B] of the draws, with the gradients that the estimator asks for."""
        z, estimator, extra = drawn["z"], self.draws.estimator, {}
        if estimator in ("vimco", "score"):
            z = lax.stop_gradient(z)
        if estimator == "dreg":
            zero = 0.0 * lax.stop_gradient(z).sum(-1).astype(jnp.float32)
            z, extra["path"] = losses.scaled_path(z, jnp.stack([zero, zero]))
        if estimator in ("stl", "dreg"):  # of q alone: a conditional prior is trained
            drawn = {**lax.stop_gradient(drawn), **self._of_prior(batch)}
        densities = self._densities({**drawn, "z": z})
        log_likelihood = self._log_likelihood(z, batch)
        log_weight = log_likelihood + densities["log_prior"] - densities["log_posterior"]
        weights = {"log_weight": log_weight, "log_likelihood": log_likelihood}
        return {**weights, **densities, **extra}

    def _log_likelihood(self, z: Array, batch: Batch) -> Array:
        """``log p(x | z)`` in nats of z [K, B, latent_dim]: [K, B]."""
        chunk = self.draws.chunk
        if chunk is None or chunk >= len(z) or self.is_initializing():
            return _decoded_log_prob(self, z, batch)

        def one(module: "LatentVariableModule", carry: Any, z: Array) -> tuple[Any, Array]:
            return carry, _decoded_log_prob(module, z, batch)

        scan = nn.scan(nn.remat(one), variable_broadcast="params", split_rngs={"params": False})
        _, parts = scan(self, (), z.reshape(-1, chunk, *z.shape[1:]))
        log_likelihood: Array = parts.reshape(z.shape[:-1])
        return log_likelihood


class QuantileModule(LatentVariableModule):
    """With a prior whose latents are independent, and whose quantiles are known."""

    def prior_quantile(self, u: Array) -> Array:
        """The latents below which a share `u` [n, latent_dim] of the prior lies, one by one."""
        z: Array = self.prior.quantile(u)
        return z


class KLModule(LatentVariableModule):
    """With an exact KL divergence of each latent."""

    def posterior_kl(self, x: Array, **columns: Any) -> Array:
        """``KL(q(z_j | x) || p(z_j))`` of each latent, in nats: [B, latent_dim]."""
        outputs = self.bottleneck(self.encoder(x, **columns))
        each: Array = self.prior.latent_kl({**outputs, **self._of_prior(columns)})
        return each


class StandardModule(KLModule, QuantileModule):
    """With both."""


class GeodesicModule(LatentVariableModule):
    """With latents in a space that is not R^n."""

    def geodesic(self, a: Array, b: Array, t: ArrayLike) -> Array:
        """The latent at a share `t` of the shortest path from `a` to `b`: [..., latent_dim]."""
        z: Array = self.bottleneck.geodesic(a, b, t)
        return z


def _decoded_log_prob(module: LatentVariableModule, z: Array, batch: Batch) -> Array:
    """``log p(x | z)`` in nats of z [K, B, latent_dim], decoded as one batch: [K, B]."""
    count = len(z)
    tiled = {
        name: jnp.broadcast_to(column, (count, *column.shape)).reshape(-1, *column.shape[1:])
        for name, column in batch.items()
    }
    decoded = module.decode(z.reshape(-1, *z.shape[2:]), **module.given(tiled))
    return module.log_prob(decoded, tiled).reshape(z.shape[:-1])


class TiedModule(nn.Module):
    """``h_{i+1} = act(h_i W_i + b_i)`` to the latents, ``h_i = act(h_{i+1} W_i^T + c_i)`` back."""

    network: MLP
    bottleneck: Linear
    event_shape: tuple[int, ...]
    likelihood: LikelihoodModule

    def setup(self) -> None:
        nn.share_scope(self, self.likelihood)
        assert self.bottleneck.latent_dim is not None
        widths = (math.prod(self.event_shape), *self.network.widths, self.bottleneck.latent_dim)
        pairs = list(enumerate(pairwise(widths)))
        names = [self.network.activation] * (len(pairs) - 1) + [self.bottleneck.activation]
        self.activations = names
        self.kernels = [
            self.param(f"kernel_{i}", kernel_init(name), pair, jnp.float32)
            for (i, pair), name in zip(pairs, names, strict=True)
        ]
        zeros = nn.initializers.zeros
        self.down = [self.param(f"bias_{i}", zeros, (out,), jnp.float32) for i, (_, out) in pairs]
        self.up = [
            self.param(f"decoder_bias_{i}", zeros, (fan_in,), jnp.float32)
            for i, (fan_in, _) in pairs
        ]

    def __call__(self, x: Array) -> Outputs:
        z = self.encode(x)
        return {"z": z, **self.decode(z)}

    def encode(self, x: Array) -> Array:
        h = x.reshape(x.shape[0], -1)
        for name, kernel, bias in zip(self.activations, self.kernels, self.down, strict=True):
            h = activation(name)(product(h, kernel) + bias)
        return h

    def decode(self, z: Array) -> Outputs:
        h = z
        for i in reversed(range(len(self.kernels))):
            h = product(h, self.kernels[i].T) + self.up[i]
            if i:
                h = activation(self.network.activation)(h)
        return self.likelihood(h.reshape(z.shape[0], *self.event_shape))
