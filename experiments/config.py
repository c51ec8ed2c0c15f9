"""The configuration of an experiment: model, data set, training settings and seed."""

from dataclasses import dataclass, field, make_dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar

import optax
from jax import Array
from optax import contrib

from ae_jax.models import Model
from ae_jax.spec import Spec, require
from ae_jax.training.plan import Sizes, make_sizes

C = TypeVar("C", bound="Config")
if TYPE_CHECKING:
    AnyModel: TypeAlias = Any
else:  # files and commands can only name members of `Model`; Python code can use any model
    AnyModel = Model


@dataclass(frozen=True, kw_only=True)
class Data(Spec):
    """The data set of an experiment."""

    name: str = "digits"
    """digits (built in), a TFDS image data set (mnist, fashion_mnist, cifar10, ...), a file (.npz,
    .npy, .csv, .tsv), or a folder of idx .gz files."""
    dir: str | None = None
    """The directory of prepared data sets; by default $AE_JAX_DATA, otherwise that of TFDS."""
    decode: Literal["once", "always"] = "once"
    """Decoding of a TFDS training set: once, with a copy in the cache, or always while training."""
    keep_labels: tuple[int, ...] | None = None
    """Use only examples with these labels, for example to detect all others as anomalies."""
    few_labels: int | None = None
    """Keep the labels of this number of training examples, as many of each class, drawn with seed
    0; the others become -1, unknown (see `SemiSupervised`)."""
    standardize: bool = False
    """Scale the columns of a table or series by their means and deviations in the training set. The
    model of the run takes and returns data in its own units."""


@dataclass(frozen=True, kw_only=True)
class Train(Spec):
    """The training settings of an experiment."""

    epochs: int = 50
    """Passes over the training set."""
    batch_size: int | None = None
    """Examples per batch; by default 256, or all of a smaller training set."""
    learning_rate: float = 1e-3
    """The learning rate, or the largest one if it has a schedule."""
    optimizer: Literal["adam", "adamw", "muon", "nadam", "rmsprop", "sgd"] = "adam"
    """The optax optimizer. muon is for matrices, and trains all other parameters with Adam."""
    schedule: Literal["constant", "cosine"] = "constant"
    """The learning rate over the run: constant, or a cosine decay to 0."""
    warmup: float = 0.0
    """Fraction of the run in which the learning rate rises linearly from 0 to its value."""
    pretrain: Literal["none", "greedy", "rbm"] = "none"
    """Pretraining of an MLP: greedy training layer by layer, or a stack of RBMs."""
    pretrain_epochs: int = 10
    """Epochs of pretraining for each layer."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """The dtype of the model's computation; parameters, losses and latents are always float32."""
    accumulate: int = 1
    """Batches per update. The update is that of one large batch, in the memory of a small one."""
    stream: bool | None = None
    """Leave the data on the host and stream it; by default only if the device lacks the memory."""
    ema_decay: float | None = None
    """Decay of an exponential moving average of the parameters, which is used for evaluation."""
    max_skips: int = 0
    """Updates in a row that may be skipped as not finite before the training stops."""
    log_every: int | None = None
    """Steps between training rows in metrics.jsonl, at most (and by default) an epoch."""
    checkpoint_every: int | None = None
    """Epochs between checkpoints; by default a run saves about ten."""

    def __post_init__(self) -> None:
        super().__post_init__()
        counts = ("epochs", "pretrain_epochs", "accumulate")
        for name in (*counts, "batch_size", "log_every", "checkpoint_every"):
            value = getattr(self, name)
            require(value is None or value >= 1, f"train.{name}", value, "must be at least 1")
        require(self.max_skips >= 0, "train.max_skips", self.max_skips, "must not be negative")
        rate = self.learning_rate
        require(0 < rate < 1e3, "train.learning_rate", rate, "must be between 0 and 1000")
        require(0 <= self.warmup < 1, "train.warmup", self.warmup, "must be in [0, 1)")
        decay = self.ema_decay
        require(decay is None or 0 <= decay < 1, "train.ema_decay", decay, "must be in [0, 1)")

    def sizes(self, count: int) -> Sizes:
        """Return the sizes of a run over `count` examples; `ValueError` if they cannot work."""
        return make_sizes(
            count, epochs=self.epochs, batch_size=self.batch_size, accumulate=self.accumulate
        )

    def make_optimizer(
        self, total_steps: int, learning_rate: float | Array | None = None
    ) -> optax.GradientTransformation:
        """Return the optimizer of a run of `total_steps` updates.

        `learning_rate` replaces the setting, and may be traced (in a sweep).
        """
        peak = self.learning_rate if learning_rate is None else learning_rate
        warmup = min(round(self.warmup * total_steps), total_steps - 1)
        rate: optax.ScalarOrSchedule = peak
        if self.schedule == "cosine":
            rate = optax.cosine_decay_schedule(peak, total_steps - warmup)
        if warmup:
            rise = optax.linear_schedule(0.0, peak, warmup)
            after = rate if callable(rate) else optax.constant_schedule(rate)
            rate = optax.join_schedules([rise, after], [warmup])
        optimizers = {
            "adam": optax.adam,
            "adamw": optax.adamw,
            "muon": contrib.muon,
            "nadam": optax.nadam,
            "rmsprop": optax.rmsprop,
            "sgd": optax.sgd,
        }
        return optimizers[self.optimizer](rate)


@dataclass(frozen=True, kw_only=True)
class Config(Spec):
    """The configuration of an experiment."""

    model: AnyModel
    """A specification with ``build(event_shape)``; files and commands name members of `Model`."""
    data: Data = field(default_factory=Data)
    train: Train = field(default_factory=Train)
    seed: int = 0
    """The seed of the initial parameters, the order of the data and all noise."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 <= self.seed < 2**32, "seed", self.seed, "must be in [0, 2**32)")


def widened(cls: type[C], models: Any) -> type[C]:
    """Return `cls` with a field `model` of type `models`, to parse files and command lines."""
    if models == Model:
        return cls
    fields = [("model", models)]
    subclass: type[C] = make_dataclass(
        cls.__name__, fields, bases=(cls,), frozen=True, kw_only=True
    )
    return subclass
