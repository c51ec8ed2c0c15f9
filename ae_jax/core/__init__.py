"""The core types: what a batch, an autoencoder, its objective and its training state are."""

from ae_jax.core.objective import (
    STREAMS,
    Autoencoder,
    Batch,
    Outputs,
    Term,
    Variables,
    as_floats,
    check_accumulation,
    compute_loss,
    event_mask,
    reconstruction,
)
from ae_jax.core.state import TrainState, by_path, init_state, streams

__all__ = [
    "STREAMS",
    "Autoencoder",
    "Batch",
    "Outputs",
    "Term",
    "TrainState",
    "Variables",
    "as_floats",
    "by_path",
    "check_accumulation",
    "compute_loss",
    "event_mask",
    "init_state",
    "reconstruction",
    "streams",
]
