"""The core types: what a batch, an autoencoder, its objective and its training state are."""

from ae_jax.core.autoencoder import (
    Autoencoder,
    Latents,
    Variables,
    reconstruction,
)
from ae_jax.core.batch import (
    RESERVED,
    Batch,
    Support,
    as_floats,
    checked_input,
    event_mask,
    example_columns,
    floats_in,
    module_columns,
    refuse_masked,
)
from ae_jax.core.objective import (
    BatchTerm,
    Objective,
    Outputs,
    Term,
    check_accumulation,
    compute_loss,
    loss_name,
    metric_names,
    player_names,
)
from ae_jax.core.players import Optimizer, Player, player_labels
from ae_jax.core.state import (
    STREAMS,
    TrainState,
    by_path,
    init_state,
    streams,
    whole_optimizer,
)
from ae_jax.core.wrapper import Wrapper, method_of

__all__ = [
    "RESERVED",
    "STREAMS",
    "Autoencoder",
    "Batch",
    "BatchTerm",
    "Latents",
    "Objective",
    "Optimizer",
    "Outputs",
    "Player",
    "Support",
    "Term",
    "TrainState",
    "Variables",
    "Wrapper",
    "as_floats",
    "by_path",
    "check_accumulation",
    "checked_input",
    "compute_loss",
    "event_mask",
    "example_columns",
    "floats_in",
    "init_state",
    "loss_name",
    "method_of",
    "metric_names",
    "module_columns",
    "player_labels",
    "player_names",
    "reconstruction",
    "refuse_masked",
    "streams",
    "whole_optimizer",
]
