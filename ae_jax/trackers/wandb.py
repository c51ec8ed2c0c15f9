"""Weights & Biases; with WANDB_MODE=offline it writes a folder for ``wandb sync``."""

import os
from collections.abc import Mapping
from typing import Any

from ae_jax.trackers.tracker import PROJECT, TrackedRun, needs_extra


class WandB:
    """A run of the project WANDB_PROJECT, by default "ae_jax"."""

    name = "wandb"

    def __init__(self) -> None:
        with needs_extra(self.name):
            import wandb
        self._wandb = wandb
        self._run: Any = None

    def start(self, run: TrackedRun) -> None:
        self._run = self._wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            name=run.name,
            id=run.id,
            resume="allow",
            settings=self._wandb.Settings(
                console="off"
            ),  # otherwise it splits the progress bar into lines
        )
        self._run.config.update(run.config, allow_val_change=True)

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        self._run.log(dict(numbers), step=step)

    def close(self, *, failed: bool) -> None:
        self._run.finish(exit_code=int(failed))
