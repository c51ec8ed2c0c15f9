"""Restricted Boltzmann machines (RBMs), and pretraining a deep autoencoder by a stack of them.

An RBM has visible units v and hidden units h in {0, 1}, with the energy and the probability

    E(v, h) = -b.v - c.h - v W h        p(v, h) = exp(-E(v, h)) / Z

With linear hidden units (Gaussian, of unit variance) the term ``-c.h`` is ``|h - c|^2 / 2``. Each
RBM of a stack is trained by contrastive divergence on the hidden means of the one below it.
Unrolled, the stack is an encoder, and a decoder with the transposed weights, to fine-tune by `fit`.

Sources: Hinton & Salakhutdinov, Reducing the dimensionality of data with neural networks, Science
313, 2006, with its supporting online material; Hinton, Training products of experts by minimizing
contrastive divergence, 2002; Hinton, A practical guide to training restricted Boltzmann machines,
2010 (momentum).
"""

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import ArrayLike

from ae_jax.core import Autoencoder, as_floats
from ae_jax.data import validated
from ae_jax.data.memory import epoch_order, take
from ae_jax.losses import batch_mean
from ae_jax.pretraining.greedy import dense_params, layer_widths, plain_mlp
from ae_jax.spec import require


class RBM(NamedTuple):
    """The parameters of an RBM with V visible and H hidden units."""

    kernel: Array
    """W: [V, H]"""
    visible_bias: Array
    """b: [V]"""
    hidden_bias: Array
    """c: [H]"""


Callback = Callable[[RBM, dict[str, Any]], object]


def init_rbm(key: Array, visible: int, hidden: int, *, std: float = 0.1) -> RBM:
    """Return an RBM with weights drawn from N(0, std^2) and biases of 0."""
    kernel = std * jax.random.normal(key, (visible, hidden))
    return RBM(kernel, jnp.zeros(visible), jnp.zeros(hidden))


@partial(jax.jit, static_argnames="linear_hidden")
def hidden_mean(params: RBM, v: ArrayLike, *, linear_hidden: bool = False) -> Array:
    """Return ``E[h | v]``, [B, V] -> [B, H]: probabilities, or the means of linear units.

    `v` may contain probabilities or uint8 pixels instead of binary states.
    """
    total = as_floats(v) @ params.kernel + params.hidden_bias
    return total if linear_hidden else jax.nn.sigmoid(total)


def visible_mean(params: RBM, h: Array) -> Array:
    """Return ``p(v = 1 | h)``, [B, H] -> [B, V], for binary or linear hidden units."""
    return jax.nn.sigmoid(h @ params.kernel.T + params.visible_bias)


def free_energy(params: RBM, v: Array, *, linear_hidden: bool = False) -> Array:
    """Return ``F(v) = -log sum_h exp(-E(v, h))`` in nats, [B, V] -> [B].

    It defines ``p(v) = exp(-F(v)) / Z``. Over linear hidden units the sum is an integral, and its
    constant ``H / 2 log 2 pi`` is omitted.
    """
    drive = v @ params.kernel
    if linear_hidden:
        per_unit = drive * (params.hidden_bias + 0.5 * drive)
    else:
        per_unit = jax.nn.softplus(drive + params.hidden_bias)
    return -(v @ params.visible_bias) - per_unit.sum(-1)


def cd1_gradient(
    params: RBM,
    key: Array,
    v: Array,
    *,
    linear_hidden: bool = False,
    where: Array | None = None,
) -> tuple[RBM, Array]:
    """Return CD-1's estimate of the gradient of ``mean_B(-log p(v))``, and reconstructions [B, V].

    The exact gradient needs samples of the model. CD-1 (contrastive divergence with one step)
    replaces them by a reconstruction v1 of the data: hidden states are drawn given `v`, and v1 is
    the probabilities of the visible units given these states. The gradient of the kernel is
    ``mean_B(v1 E[h | v1]^T - v E[h | v]^T)``; subtract it to reduce the loss.

    Args:
      params: the RBM.
      key: random key of the hidden states.
      v: data [B, V] in [0, 1].
      linear_hidden: hidden units are Gaussian with unit variance instead of binary.
      where: mask [B], False for padding.
    """
    h = hidden_mean(params, v, linear_hidden=linear_hidden)
    if linear_hidden:
        h = h + jax.random.normal(key, h.shape)
    else:
        h = jax.random.bernoulli(key, h).astype(h.dtype)
    recon = visible_mean(params, h)

    def contrast(params: RBM) -> Array:  # its gradient is the difference of the statistics above
        energy = partial(free_energy, params, linear_hidden=linear_hidden)
        return batch_mean(energy(v) - energy(recon), where=where)

    return jax.grad(contrast)(params), recon


def train_rbm(
    x: ArrayLike,
    hidden: int,
    *,
    key: Array,
    epochs: int = 50,
    batch_size: int = 100,
    learning_rate: float = 0.1,
    momentum: tuple[float, float] = (0.5, 0.9),
    weight_cost: float = 2e-4,
    linear_hidden: bool = False,
    callbacks: Sequence[Callback] = (),
) -> RBM:
    """Return an RBM with `hidden` units, trained on `x` by CD-1 with one compiled loop per epoch.

    An update is ``velocity = momentum * velocity - learning_rate * gradient``. The defaults are
    those of Hinton & Salakhutdinov for binary units. Linear units need a `learning_rate` of about
    0.001.

    Args:
      x: data [N, V], floats in [0, 1] or uint8 pixels.
      hidden: number of hidden units.
      key: random key of the initial weights, the order of the data and the hidden states.
      epochs: passes over the data.
      batch_size: examples per update; the last batch of an epoch is padded and masked.
      learning_rate: learning rate of weights and biases.
      momentum: momentum in the first five epochs, and in the later ones.
      weight_cost: L2 decay of the weights (not the biases): ``weight_cost * W`` in the gradient.
      linear_hidden: hidden units are Gaussian with unit variance instead of binary.
      callbacks: functions that are called as ``callback(params, row)`` after each epoch. A row is
        ``{"visible", "hidden", "epoch", "squared_error", "images_per_second"}``. The squared error
        of the reconstructions is summed over units, and averaged over the epoch's examples while
        the weights change. The speed of the first epoch includes compilation.

    Raises:
      ValueError, TypeError: invalid data or settings.
    """
    x = validated(x, support="unit_interval")["x"]
    require(x.ndim == 2, "x.shape", x.shape, "must be [N, visible]; use x.reshape(len(x), -1)")
    count, visible = x.shape
    for name, value in (("hidden", hidden), ("epochs", epochs), ("batch_size", batch_size)):
        require(isinstance(value, int) and value >= 1, name, value, "must be an integer >= 1")
    require(learning_rate > 0, "learning_rate", learning_rate, "must be positive")
    require(all(0 <= m < 1 for m in momentum), "momentum", momentum, "must be in [0, 1)")
    require(weight_cost >= 0, "weight_cost", weight_cost, "must not be negative")

    init_key, order_key, noise_key = jax.random.split(key, 3)
    params = init_rbm(init_key, visible, hidden)
    velocity = jax.tree.map(jnp.zeros_like, params)
    x = jax.device_put(x)
    for epoch in range(epochs):
        began = time.perf_counter()
        order = _epoch_order(order_key, epoch, count=count, batch_size=batch_size)
        params, velocity, error = _run_epoch(
            params,
            velocity,
            x,
            order,
            jax.random.fold_in(noise_key, epoch),
            learning_rate=learning_rate,
            momentum=momentum[epoch >= 5],
            weight_cost=weight_cost,
            linear_hidden=linear_hidden,
        )
        row = {"visible": visible, "hidden": hidden, "epoch": epoch + 1}
        row["squared_error"] = float(error) / count
        row["images_per_second"] = count / (time.perf_counter() - began)
        for callback in callbacks:
            callback(params, row)
    return params


def pretrain_rbm_stack(
    ae: Autoencoder,
    x: ArrayLike,
    *,
    epochs: int = 50,
    batch_size: int = 100,
    learning_rate: float = 0.1,
    latent_learning_rate: float = 1e-3,
    momentum: tuple[float, float] = (0.5, 0.9),
    weight_cost: float = 2e-4,
    seed: int = 0,
    callbacks: Sequence[Callback] = (),
) -> dict[str, Any]:
    """Return parameters of `ae` from a stack of RBMs, one for each layer of the encoder.

    The first RBM is trained on `x`, and each later one on the hidden probabilities of the one
    below. The last RBM has linear hidden units, the latents. Kernels and hidden biases are the
    encoder, and transposed kernels and visible biases are the decoder. To fine-tune the result:
    ``fit(ae, x, params=pretrain_rbm_stack(ae, x), ...)``.

    Args:
      ae: a model of the specification `Vanilla` with a mirrored MLP of sigmoid units, linear
        latents and the loss bce, because a stack of RBMs computes no other model.
      x: examples [N, *event_shape], floats in [0, 1] or uint8 pixels.
      epochs: epochs for each layer.
      latent_learning_rate: learning rate of the last layer; its unbounded units need a smaller one.
      batch_size, learning_rate, momentum, weight_cost, callbacks: see `train_rbm`.
      seed: seed of everything random.

    Raises:
      ValueError, TypeError: another kind of model, or invalid data or settings.
    """
    widths = _layer_widths(ae)
    x = validated(x, support="unit_interval")["x"]
    if x.shape[1:] != ae.event_shape:
        event = ", ".join(map(str, ae.event_shape))
        raise ValueError(f"x has shape {x.shape}; this model was built for [N, {event}]")
    data: ArrayLike = x.reshape(len(x), -1)
    stack: list[RBM] = []
    for i, hidden in enumerate(widths):
        last = i == len(widths) - 1
        rbm = train_rbm(
            data,
            hidden,
            key=jax.random.fold_in(jax.random.key(seed), i),
            epochs=epochs,
            batch_size=batch_size,
            learning_rate=latent_learning_rate if last else learning_rate,
            momentum=momentum,
            weight_cost=weight_cost,
            linear_hidden=last,
            callbacks=callbacks,
        )
        stack.append(rbm)
        if not last:
            data = hidden_mean(rbm, data)
    down = [{"kernel": rbm.kernel, "bias": rbm.hidden_bias} for rbm in stack]
    up = [{"kernel": rbm.kernel.T, "bias": rbm.visible_bias} for rbm in reversed(stack)]
    return dense_params(down, up)


_epoch_order = jax.jit(epoch_order, static_argnames=("count", "batch_size"))


@partial(jax.jit, static_argnames="linear_hidden")
def _run_epoch(
    params, velocity, x, order, key, *, learning_rate, momentum, weight_cost, linear_hidden
):
    """Return parameters and velocity after an epoch, and its squared error summed over examples."""

    def update(i, carry):
        params, velocity, total = carry
        batch = take({"x": x}, order[i], padded=True)
        v, where = as_floats(batch["x"]), batch["mask"]
        gradient, recon = cd1_gradient(
            params, jax.random.fold_in(key, i), v, linear_hidden=linear_hidden, where=where
        )
        gradient = gradient._replace(kernel=gradient.kernel + weight_cost * params.kernel)
        velocity = jax.tree.map(lambda u, g: momentum * u - learning_rate * g, velocity, gradient)
        params = jax.tree.map(jnp.add, params, velocity)
        return params, velocity, total + where @ jnp.square(v - recon).sum(1)

    return lax.fori_loop(0, len(order), update, (params, velocity, jnp.float32(0)))


def _layer_widths(ae: Autoencoder) -> tuple[int, ...]:
    """Return the hidden units of each RBM; raises `ValueError` if a stack cannot pretrain `ae`."""
    parts = plain_mlp(ae)
    require(not parts.tied, "tied", True, "a stack of RBMs needs untied weights")
    for name, value, needed in (
        ("network.activation", getattr(parts.network, "activation", None), "sigmoid"),
        ("latent_activation", getattr(parts.bottleneck, "activation", None), "linear"),
        ("loss", getattr(parts.likelihood, "loss", None), "bce"),
    ):
        require(value == needed, name, value, f"a stack of RBMs needs {needed!r}")
    return layer_widths(parts)
