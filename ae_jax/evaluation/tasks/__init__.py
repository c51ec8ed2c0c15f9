"""What autoencoders are for: one file per use, each with the same three names.

``Settings`` is a dataclass of options. ``misfit(subject)`` says in a line why the use cannot be
measured on this model and data, or is None. ``measure(subject, settings)`` measures it.
"""

from typing import Any, Protocol

from ae_jax.evaluation.tasks import (
    anomaly,
    denoising,
    dimensionality,
    features,
    generation,
    reconstruction,
)
from ae_jax.evaluation.tasks.subject import Result, Subject


class Task(Protocol):
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
}
