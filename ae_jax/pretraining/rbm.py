"""Restricted Boltzmann machines, and a stack of them as the start of a deep autoencoder.

A machine has visible units v and hidden units h in {0, 1}, and the energy

    E(v, h) = -b.v - c.h - v W h        p(v, h) = exp(-E(v, h)) / Z

or, with linear hidden units (Gaussian, of unit variance), ``|h - c|^2 / 2`` in place of ``-c.h``.
Each is trained on what the one below it makes of the data, by contrastive divergence; unrolled,
the stack is an encoder and a decoder that share their weights, to be fine-tuned by `fit`.

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
    """The parameters of a machine of V visible and H hidden units."""

    kernel: Array
    """W: [V, H]"""
    visible_bias: Array
    """b: [V]"""
    hidden_bias: Array
    """c: [H]"""


Callback = Callable[[RBM, dict[str, Any]], object]


def init_rbm(key: Array, visible: int, hidden: int, *, std: float = 0.1) -> RBM:
    """Weights from N(0, std^2), biases 0."""
    kernel = std * jax.random.normal(key, (visible, hidden))
    return RBM(kernel, jnp.zeros(visible), jnp.zeros(hidden))


@partial(jax.jit, static_argnames="linear_hidden")
def hidden_mean(params: RBM, v: ArrayLike, *, linear_hidden: bool = False) -> Array:
    """``E[h | v]``: probabilities, or the means of linear units. [B, V] -> [B, H].

    `v` may hold probabilities (or uint8 pixels) in place of binary states.
    """
    total = as_floats(v) @ params.kernel + params.hidden_bias
    return total if linear_hidden else jax.nn.sigmoid(total)


def visible_mean(params: RBM, h: Array) -> Array:
    """``p(v = 1 | h)``, for either kind of hidden units. [B, H] -> [B, V]."""
    return jax.nn.sigmoid(h @ params.kernel.T + params.visible_bias)


def free_energy(params: RBM, v: Array, *, linear_hidden: bool = False) -> Array:
    """``F(v) = -log sum_h exp(-E(v, h))``, in nats: [B, V] -> [B]. ``p(v) = exp(-F(v)) / Z``.

    Over linear hidden units the sum is an integral, here without its constant,
    ``H / 2 log 2 pi``.
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
    """CD-1 in place of the gradient of ``mean_B(-log p(v))``, and the reconstructions [B, V].

    Where maximum likelihood would have samples of the model, CD-1 has what one step from the data
    gives: hidden states drawn given `v`, then the probabilities of the visible units given those.
    For the kernel that is ``mean_B(v1 E[h | v1]^T - v E[h | v]^T)``. To descend along.

    Args:
      params: the machine.
      key: of the hidden states.
      v: data [B, V] in [0, 1].
      linear_hidden: hidden units are Gaussian with unit variance instead of binary.
      where: [B], which rows are real.
    """
    h = hidden_mean(params, v, linear_hidden=linear_hidden)
    if linear_hidden:
        h = h + jax.random.normal(key, h.shape)
    else:
        h = jax.random.bernoulli(key, h).astype(h.dtype)
    recon = visible_mean(params, h)

    def contrast(params: RBM) -> Array:  # dF/dparams are the statistics that CD compares
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
    """A machine with `hidden` units trained on `x` by CD-1; each epoch is one compiled loop.

    An update is ``velocity = momentum * velocity - learning_rate * gradient``. The defaults are the
    authors' for binary units; linear ones need a `learning_rate` of about 0.001.

    Args:
      x: [N, V], floats in [0, 1] or uint8 pixels.
      hidden: the number of hidden units.
      key: of the initial weights, the order of the data and the hidden states.
      epochs: passes over the data.
      batch_size: examples per update; the last batch of an epoch is padded and masked.
      learning_rate: of weights and biases.
      momentum: in the first five epochs, and after them.
      weight_cost: L2 decay of the weights (not the biases): ``weight_cost * W`` in the gradient.
      linear_hidden: hidden units are Gaussian with unit variance instead of binary.
      callbacks: each called as ``callback(params, row)`` after each epoch; a row is ``{"visible",
        "hidden", "epoch", "squared_error", "images_per_second"}``. The squared error of the
        reconstructions is summed over units, its mean is over the epoch, as the weights moved. The
        speed of the first epoch includes compiling.

    Raises:
      ValueError, TypeError: for data or settings that cannot work, in one line.
    """
    x = validated(x, unit_interval=True)["x"]
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
    code_learning_rate: float = 1e-3,
    momentum: tuple[float, float] = (0.5, 0.9),
    weight_cost: float = 2e-4,
    seed: int = 0,
    callbacks: Sequence[Callback] = (),
) -> dict[str, Any]:
    """Parameters of `ae` from a stack of machines, one for each layer down to the code.

    The first machine is trained on `x`, each further one on the hidden probabilities of the one
    below. The last has linear hidden units, the code. Unrolled, kernels and hidden biases make the
    encoder; transposed kernels and visible biases the decoder. To fine-tune:
    ``fit(ae, x, params=pretrain_rbm_stack(ae, x), ...)``.

    Args:
      ae: built from a `Vanilla` on a mirrored dense network with sigmoid units, a linear code and
        the loss bce: what a stack of machines computes.
      x: [N, *event_shape], floats in [0, 1] or uint8 pixels.
      epochs: for each layer.
      code_learning_rate: of the code layer, whose unbounded units need a smaller one.
      batch_size, learning_rate, momentum, weight_cost, callbacks: see `train_rbm`.
      seed: of all that is random.

    Raises:
      ValueError, TypeError: for another kind of model, and for data or settings that cannot work.
    """
    widths = _layer_widths(ae)
    x = validated(x, unit_interval=True)["x"]
    if x.shape[1:] != ae.event_shape:
        event = ", ".join(map(str, ae.event_shape))
        raise ValueError(f"x has shape {x.shape}; this model was built for [N, {event}]")
    data: ArrayLike = x.reshape(len(x), -1)
    stack: list[RBM] = []
    for i, hidden in enumerate(widths):
        code = i == len(widths) - 1
        rbm = train_rbm(
            data,
            hidden,
            key=jax.random.fold_in(jax.random.key(seed), i),
            epochs=epochs,
            batch_size=batch_size,
            learning_rate=code_learning_rate if code else learning_rate,
            momentum=momentum,
            weight_cost=weight_cost,
            linear_hidden=code,
            callbacks=callbacks,
        )
        stack.append(rbm)
        if not code:
            data = hidden_mean(rbm, data)
    down = [{"kernel": rbm.kernel, "bias": rbm.hidden_bias} for rbm in stack]
    up = [{"kernel": rbm.kernel.T, "bias": rbm.visible_bias} for rbm in reversed(stack)]
    return dense_params(down, up)


_epoch_order = jax.jit(epoch_order, static_argnames=("count", "batch_size"))


@partial(jax.jit, static_argnames="linear_hidden")
def _run_epoch(
    params, velocity, x, order, key, *, learning_rate, momentum, weight_cost, linear_hidden
):
    """Parameters and velocity after an epoch, and its squared error, summed over examples."""

    def one(i, carry):
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

    return lax.fori_loop(0, len(order), one, (params, velocity, jnp.float32(0)))


def _layer_widths(ae: Autoencoder) -> tuple[int, ...]:
    """Hidden units of each machine; `ValueError` for a model that no stack unrolls into."""
    parts = plain_mlp(ae)
    require(not parts.tied, "tied", True, "a stack of RBMs needs untied weights")
    for name, value, needed in (
        ("network.activation", getattr(parts.network, "activation", None), "sigmoid"),
        ("latent_activation", getattr(parts.bottleneck, "activation", None), "linear"),
        ("loss", getattr(parts.likelihood, "loss", None), "bce"),
    ):
        require(value == needed, name, value, f"a stack of RBMs needs {needed!r}")
    return layer_widths(parts)
