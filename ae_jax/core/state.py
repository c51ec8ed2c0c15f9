"""The training state: arrays only, so that vmap, donation and checkpoints just work."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax
from jax import Array
from jax.typing import ArrayLike

from ae_jax.core.autoencoder import Autoencoder, Variables
from ae_jax.core.batch import as_floats, example_columns
from ae_jax.core.players import player_labels

STREAMS = ("latent", "corrupt", "dropout")
"""The kinds of noise a module may draw: ``latent`` (a posterior sample), ``corrupt`` (noise on the
input), ``dropout``. It draws only from streams that it is given, and is deterministic without."""


class TrainState(flax.struct.PyTreeNode):
    """Everything a step needs besides the batch.

    `key` never changes: the noise of a step is a function of ``(key, step)``. `model_state` holds
    the Linen collections that are not trained. `ema` is the exponential moving average of both,
    or None where none is kept.
    """

    step: Array
    key: Array
    params: Any
    model_state: Any
    opt_state: Any
    ema: Any = None

    @property
    def variables(self) -> Variables:
        """What `Autoencoder.encode` and `decode` take: the averages if they are kept."""
        variables: Variables = {"params": self.params, **self.model_state}
        return variables if self.ema is None else self.ema


def init_state(
    ae: Autoencoder,
    tx: optax.GradientTransformation,
    key: Array,
    example: Mapping[str, ArrayLike] | ArrayLike | None = None,
    *,
    ema: bool = False,
) -> TrainState:
    """A fresh state. Pure: jit it, or vmap it over keys.

    `example` is a batch to trace the module with: x [B, *event_shape], or a mapping with it and
    the columns that the model reads (zeros by default). `ema` starts an exponential moving average
    at the initial variables.

    Raises `ValueError` for a player without parameters.
    """
    columns: dict[str, Any] = dict(example_columns(ae.columns, ae.integers))
    if example is None:
        x: ArrayLike = jnp.zeros((1, *ae.event_shape), jnp.float32)
    elif isinstance(example, Mapping):
        x, batch = example["x"], dict(example)
        columns = dict(example_columns(ae.columns, ae.integers, len(jnp.asarray(x))))
        columns |= {name: as_floats(batch[name]) for name in columns if name in batch}
    else:
        x = example
        columns = dict(example_columns(ae.columns, ae.integers, len(jnp.asarray(x))))
    init_key, noise_key = jax.random.split(key)
    rngs = {"params": init_key} | streams(init_key)
    variables = ae.module.init(rngs, as_floats(x), **columns)
    model_state = {name: tree for name, tree in variables.items() if name != "params"}
    params = variables.get("params", {})
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        key=noise_key,
        params=params,
        model_state=model_state,
        opt_state=whole_optimizer(ae, tx).init(params),
        ema={"params": params, **model_state} if ema else None,
    )


def whole_optimizer(
    ae: Autoencoder, tx: optax.GradientTransformation
) -> optax.GradientTransformation:
    """The optimizer of all players of `ae`, made from the run's optimizer `tx`."""
    if ae.players:
        made = {n: tx if p.optimizer is None else p.optimizer(tx) for n, p in ae.players.items()}
        tx = optax.multi_transform({"": tx, **made}, partial(player_labels, ae.players))
    return tx if ae.optimizer is None else ae.optimizer(tx)


def streams(key: Array, names: tuple[str, ...] = STREAMS) -> dict[str, Array]:
    """One key for each noise stream, the same for a name whichever others are asked for."""
    return {name: jax.random.fold_in(key, STREAMS.index(name)) for name in names}


def by_path(tree: Any) -> dict[str, Any]:
    """The leaves of a tree by their paths: ``{"encoder/Dense_0/kernel": ...}``."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}
