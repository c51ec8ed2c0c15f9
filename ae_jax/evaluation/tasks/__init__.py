"""The tasks that autoencoders are used for, one module per task with the same three names.

``Settings`` is a dataclass of options. ``misfit(subject)`` is one line on why the task cannot be
measured for this model and data, or None. ``measure(subject, settings)`` measures the task.
"""

from typing import Any, Protocol

from ae_jax.evaluation.tasks import (
    anomaly,
    denoising,
    dictionary,
    dimensionality,
    features,
    generation,
    reconstruction,
)
from ae_jax.evaluation.tasks.subject import Result, Subject


class Task(Protocol):
    """The interface of a task's module."""

    Settings: Any

    def misfit(self, subject: Subject) -> str | None: ...

    def measure(self, subject: Subject, settings: Any) -> Result: ...


TASKS: dict[str, Task] = {
    "reconstruction": reconstruction,
    "dimensionality": dimensionality,
    "anomaly": anomaly,
    "denoising": denoising,
    "generation": generation,
    "features": features,
    "dictionary": dictionary,
}
