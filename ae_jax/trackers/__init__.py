"""Experiment trackers: optional sinks beside ``metrics.jsonl``, which is always written.

    fit(..., run_dir="runs/a", trackers=make_trackers(["tensorboard", "wandb"]))

Each is one file that answers to one small protocol (`tracker.Tracker`), and needs an extra:
``pip install 'ae_jax[wandb]'``, or ``ae_jax[trackers]`` for all of them. Where they write is for
their own settings to say (WANDB_MODE, MLFLOW_TRACKING_URI, TRACKIO_DIR, ...); TensorBoard's events
are in RUN/tensorboard.
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
    """The trackers of these names, each once; nothing is written or sent before a run starts.

    Raises `ValueError` for an unknown name, or where a package is missing: one line that names the
    extra.
    """
    names = list(dict.fromkeys(names))
    for name in names:
        if name not in TRACKERS:
            raise ValueError(f"no tracker {name!r}: {nearest(name, TRACKERS)}")
    return [TRACKERS[name]() for name in names]
