"""TensorBoard, by tensorboardX, which needs no TensorFlow: ``tensorboard --logdir runs``."""

import time
from collections.abc import Mapping
from typing import Any

from ae_jax.trackers.tracker import TrackedRun, needs_extra


class TensorBoard:
    """Scalars, and the settings as text, in RUN/tensorboard."""

    name = "tensorboard"

    def __init__(self) -> None:
        with needs_extra(self.name):
            from tensorboardX import SummaryWriter
        self._make = SummaryWriter
        self._writer: Any = None

    def start(self, run: TrackedRun) -> None:
        folder = run.folder / "tensorboard"
        resumed = folder.exists()
        # File names have a resolution of a second: a run resumed within it would overwrite a file.
        self._writer = self._make(str(folder), filename_suffix=f".{time.time_ns()}")
        if not resumed:
            rows = [f"| {name} | {value} |" for name, value in run.config.items()]
            self._writer.add_text("config", "\n".join(["| setting | value |", "|-|-|", *rows]))

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        for name, value in numbers.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def close(self, *, failed: bool) -> None:
        self._writer.close()
