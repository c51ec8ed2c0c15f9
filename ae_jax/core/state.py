"""The training state: arrays only, so that vmap, donation and checkpoints just work."""

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax
from jax import Array
from jax.typing import ArrayLike

from ae_jax.core.objective import STREAMS, Autoencoder, Variables, as_floats


class TrainState(flax.struct.PyTreeNode):
    """Everything a step needs besides the batch.

    `key` never changes: the noise of a step is a function of ``(key, step)``. `model_state` holds
    the Linen collections that are not trained. `ema_params` is None where no average is kept.
    """

    step: Array
    key: Array
    params: Any
    model_state: Any
    opt_state: Any
    ema_params: Any = None

    @property
    def variables(self) -> Variables:
        """What `Autoencoder.encode` and `decode` take: the averaged parameters if there are any."""
        params = self.params if self.ema_params is None else self.ema_params
        return {"params": params, **self.model_state}


def init_state(
    ae: Autoencoder,
    tx: optax.GradientTransformation,
    key: Array,
    example: ArrayLike | None = None,
    *,
    ema: bool = False,
) -> TrainState:
    """A fresh state. Pure: jit it, or vmap it over keys.

    `example` is a batch [B, *event_shape] to trace the module with (one of zeros by default).
    `ema` starts an exponential moving average at the initial parameters.
    """
    if example is None:
        example = jnp.zeros((1, *ae.event_shape), jnp.float32)
    init_key, noise_key = jax.random.split(key)
    rngs = {"params": init_key} | streams(init_key)
    model_state, params = _pop_params(ae.module.init(rngs, as_floats(example)))
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        key=noise_key,
        params=params,
        model_state=model_state,
        opt_state=tx.init(params),
        ema_params=params if ema else None,
    )


def streams(key: Array, names: tuple[str, ...] = STREAMS) -> dict[str, Array]:
    """One key for each noise stream, the same for a name whichever others are asked for."""
    return {name: jax.random.fold_in(key, STREAMS.index(name)) for name in names}


def _pop_params(variables: Variables) -> tuple[dict[str, Any], Any]:
    rest = dict(variables)
    params = rest.pop("params")
    return rest, params


def by_path(tree: Any) -> dict[str, Any]:
    """The leaves of a tree by their paths: ``{"encoder/Dense_0/kernel": ...}``."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}
