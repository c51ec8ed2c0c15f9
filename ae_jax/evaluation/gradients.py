"""How noisy gradients are: the signal-to-noise ratio of each group of parameters."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from ae_jax.core import Autoencoder, Batch, Variables, compute_loss, floats_in, streams
from ae_jax.core.players import player_labels
from ae_jax.spec import require


def gradient_snr(
    ae: Autoencoder, variables: Variables, batch: Batch, *, draws: int, seed: int = 0
) -> dict[str, float]:
    """The signal-to-noise ratio of the training gradient, by top-level name of the parameters.

    It is ``||E g|| / sqrt(E ||g - E g||^2)`` over the noise of the module, for a fixed batch, with
    g the gradient of the loss of the parameters' player. `draws` gradients estimate both, that of
    ``||E g||^2`` without bias: a ratio below about ``1 / sqrt(2 draws)`` may come out as 0.

    Raises `ValueError` for less than 2 draws. Source: Rainforth et al., Tighter variational bounds
    are not necessarily better, 2018, section 3.
    """
    require(draws >= 2, "draws", draws, "must be at least 2")
    mean, squares = jax.jit(partial(_moments, ae), static_argnums=3)(
        variables, batch, jax.random.key(seed), draws
    )
    ratios = {}
    for name, tree in mean.items():
        norm = sum(np.square(np.float64(leaf)).sum() for leaf in jax.tree.leaves(tree))
        second = sum(np.float64(leaf).sum() for leaf in jax.tree.leaves(squares[name]))
        noise = draws / (draws - 1) * (second - norm)  # E ||g - E g||^2
        signal = norm - noise / draws
        ratios[name] = float(np.sqrt(max(signal, 0.0) / noise)) if noise > 0 else float("inf")
    return ratios


def _moments(
    ae: Autoencoder, variables: Variables, batch: Batch, key: Array, draws: int
) -> tuple[Any, Any]:
    """The means over draws of the gradient and of its square, element by element."""
    batch = floats_in(batch)
    params, rest = variables["params"], {k: v for k, v in variables.items() if k != "params"}
    labels = player_labels(ae.players, params)

    def loss(params: Any, player: str, key: Array) -> Array:
        outputs = ae.outputs({"params": params, **rest}, batch, rngs=streams(key))
        return compute_loss(ae.objective, outputs, batch, player=player)[0]

    def one(total: Any, n: Array) -> tuple[Any, None]:
        draw = jax.random.fold_in(key, n)
        grads: dict[str, Any] = {}
        for player in {*labels.values()}:
            own = jax.grad(loss)(params, player, draw)
            grads |= {name: own[name] for name in params if labels[name] == player}
        return jax.tree.map(jnp.add, total, (grads, jax.tree.map(jnp.square, grads))), None

    zeros = jax.tree.map(jnp.zeros_like, dict(params))
    total, _ = jax.lax.scan(one, (zeros, zeros), jnp.arange(draws))
    mean, squares = jax.tree.map(lambda a: a / draws, total)
    return mean, squares
