"""Experiment trackers: optional copies of the rows of ``metrics.jsonl``, which is always written.

    fit(..., run_dir="runs/a", trackers=make_trackers(["tensorboard", "wandb"]))

Each tracker is one module with a small protocol (`tracker.Tracker`), and needs an extra: ``pip
install 'ae_jax[wandb]'``, or ``ae_jax[trackers]`` for all of them. Their own settings (WANDB_MODE,
MLFLOW_TRACKING_URI, TRACKIO_DIR, ...) determine where they write; TensorBoard writes to
RUN/tensorboard.
"""

from collections.abc import Callable, Iterable

from ae_jax.spec import nearest
from ae_jax.trackers.mlflow import MLflow
from ae_jax.trackers.tensorboard import TensorBoard
from ae_jax.trackers.tracker import TrackedRun, Tracker
from ae_jax.trackers.tracking import Tracking
from ae_jax.trackers.trackio import Trackio
from ae_jax.trackers.wandb import WandB

__all__ = ["TRACKERS", "TrackedRun", "Tracker", "Tracking", "make_trackers"]

TRACKERS: dict[str, Callable[[], Tracker]] = {
    "tensorboard": TensorBoard,
    "wandb": WandB,
    "mlflow": MLflow,
    "trackio": Trackio,
}


def make_trackers(names: Iterable[str]) -> list[Tracker]:
    """Create the trackers of these names, each once; none writes before a run starts.

    Raises `ValueError` for an unknown name, or if a package is missing: one line that names the
    extra to install.
    """
    names = list(dict.fromkeys(names))
    for name in names:
        if name not in TRACKERS:
            raise ValueError(f"no tracker {name!r}: {nearest(name, TRACKERS)}")
    return [TRACKERS[name]() for name in names]
