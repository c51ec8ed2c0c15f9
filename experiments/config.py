"""What an experiment is: a model, a data set, how to train, a seed."""

from dataclasses import dataclass, field, make_dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar

import optax
from jax import Array

from ae_jax.models import Model
from ae_jax.spec import Spec, require

C = TypeVar("C", bound="Config")
if TYPE_CHECKING:
    AnyModel: TypeAlias = Any
else:  # files and commands name those of `Model`; a configuration in Python may have any
    AnyModel = Model


@dataclass(frozen=True, kw_only=True)
class Data(Spec):
    name: str = "digits"
    """digits (built in), any TFDS image set (mnist, fashion_mnist, cifar10, ...), a .npz or .csv
    file, or a folder of idx .gz files."""
    dir: str | None = None
    """Where prepared data sets are; by default $AE_JAX_DATA, else TFDS's own folder."""
    decode: Literal["once", "always"] = "once"
    """Of a TFDS training set: keep a decoded copy in the cache, or decode while training."""
    keep_labels: tuple[int, ...] | None = None
    """Train and test on examples with these labels only, as anomaly detection does."""


@dataclass(frozen=True, kw_only=True)
class Train(Spec):
    epochs: int = 50
    batch_size: int = 256
    learning_rate: float = 1e-3
    optimizer: Literal["adam", "adamw", "nadam", "rmsprop", "sgd"] = "adam"
    schedule: Literal["constant", "cosine"] = "constant"
    """Of the learning rate, over the whole run; cosine ends at 0."""
    warmup: float = 0.0
    """Share of the run in which the learning rate first rises to its value, in a straight line."""
    pretrain: Literal["none", "greedy", "rbm"] = "none"
    """Where dense networks start from: greedy training layer by layer, or a stack of RBMs."""
    pretrain_epochs: int = 10
    """Of each layer."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """What the model computes in; parameters, losses and codes are float32 either way."""
    accumulate: int = 1
    """Batches to an update, as if they were one, in the memory of one."""
    stream: bool | None = None
    """Leave the data on the host and stream it; by default where it would not fit on the device."""
    ema_decay: float | None = None
    """Keep an exponential moving average of the parameters, and evaluate that."""
    max_skips: int = 0
    """Updates in a row to leave out where they are not finite, before the training stops."""
    log_every: int | None = None
    """Steps between training rows in metrics.jsonl, at most (and by default) an epoch."""
    checkpoint_every: int | None = None
    """Epochs between checkpoints; by default about ten in a run."""

    def __post_init__(self) -> None:
        super().__post_init__()
        counts = ("epochs", "batch_size", "pretrain_epochs", "accumulate")
        for name in (*counts, "log_every", "checkpoint_every"):
            value = getattr(self, name)
            require(value is None or value >= 1, f"train.{name}", value, "must be at least 1")
        require(self.max_skips >= 0, "train.max_skips", self.max_skips, "must not be negative")
        rate = self.learning_rate
        require(0 < rate < 1e3, "train.learning_rate", rate, "must be between 0 and 1000")
        require(0 <= self.warmup < 1, "train.warmup", self.warmup, "must be in [0, 1)")
        decay = self.ema_decay
        require(decay is None or 0 <= decay < 1, "train.ema_decay", decay, "must be in [0, 1)")

    def make_optimizer(
        self, total_steps: int, learning_rate: float | Array | None = None
    ) -> optax.GradientTransformation:
        """The optimizer of a run of so many steps; a sweep gives it a learning rate, traced."""
        peak = self.learning_rate if learning_rate is None else learning_rate
        warmup = min(round(self.warmup * total_steps), total_steps - 1)
        rate: optax.ScalarOrSchedule = peak
        if self.schedule == "cosine":
            rate = optax.cosine_decay_schedule(peak, total_steps - warmup)
        if warmup:
            rise = optax.linear_schedule(0.0, peak, warmup)
            after = rate if callable(rate) else optax.constant_schedule(rate)
            rate = optax.join_schedules([rise, after], [warmup])
        makers = {
            "adam": optax.adam,
            "adamw": optax.adamw,
            "nadam": optax.nadam,
            "rmsprop": optax.rmsprop,
            "sgd": optax.sgd,
        }
        return makers[self.optimizer](rate)


@dataclass(frozen=True, kw_only=True)
class Config(Spec):
    model: AnyModel
    """Any specification with ``build(event_shape)``; files and commands name those of `Model`."""
    data: Data = field(default_factory=Data)
    train: Train = field(default_factory=Train)
    seed: int = 0
    """Of the initial parameters, the order of the data and all noise."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 <= self.seed < 2**32, "seed", self.seed, "must be in [0, 2**32)")


def widened(cls: type[C], models: Any) -> type[C]:
    """`cls`, a `Config`, whose model is one of `models`: for reading files and command lines."""
    if models == Model:
        return cls
    fields = [("model", models)]
    made: type[C] = make_dataclass(cls.__name__, fields, bases=(cls,), frozen=True, kw_only=True)
    return made
