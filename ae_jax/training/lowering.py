"""The traced program of a training, to be compiled for the devices of its mesh."""

from typing import Any, Literal

import jax
import numpy as np
import optax
from jax.sharding import Mesh
from jax.stages import Lowered

from ae_jax.core import Autoencoder, TrainState, metric_names
from ae_jax.devices.mesh import replicated
from ae_jax.training.loop import BatchAt, make_train_loop, no_sums
from ae_jax.training.start import shardings_of
from ae_jax.training.step import make_train_step


def lower_loop(
    ae: Autoencoder,
    tx: optax.GradientTransformation,
    batch_at: BatchAt,
    state: TrainState,
    piece: Any,
    *,
    mesh: Mesh,
    max_skips: int = 0,
    ema_decay: float | None = None,
    accumulate: int = 1,
) -> Lowered:
    """The loop of a run on `mesh`, traced. `state` and `piece` may be abstract."""
    # Without skips the next loss ends the run: nothing that overflowed is ever saved.
    guard: bool | Literal["whole"] = "whole" if max_skips else True
    step = make_train_step(ae, tx, ema_decay=ema_decay, accumulate=accumulate, guard=guard)
    everywhere = replicated(mesh)
    zeros = jax.tree.map(
        lambda zero: jax.ShapeDtypeStruct(zero.shape, zero.dtype, sharding=everywhere),
        jax.eval_shape(lambda: no_sums(metric_names(ae.objective))),
    )
    jitted = jax.jit(
        make_train_loop(step, batch_at, max_skips=max_skips),
        donate_argnums=0,
        out_shardings=(shardings_of(state), everywhere),
    )
    zero = jax.ShapeDtypeStruct((), np.int32)
    return jitted.lower(state, zeros, piece, zero, zero)
