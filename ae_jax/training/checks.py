"""Checks of what a training is given, before anything is compiled: one clear line for a mistake."""

import logging
from collections.abc import Mapping

import numpy as np
from jax.typing import ArrayLike

from ae_jax.core import Autoencoder
from ae_jax.data import validated
from ae_jax.data.generated import Generated
from ae_jax.data.real import value_range
from ae_jax.data.scan import describe_constant, require_varied
from ae_jax.data.shards import Shards
from ae_jax.data.validate import first_rows
from ae_jax.spec import require

Examples = ArrayLike | Mapping[str, ArrayLike] | Generated
log = logging.getLogger(__name__)
LARGEST_SEED = 2**32
SLACK = 0.01  # of the range of the data, which an output may miss


def checked_data(
    ae: Autoencoder, data: Examples, name: str, *, records: bool = False
) -> dict[str, np.ndarray]:
    """`data` validated: of the shape the model was built for, with the columns that it reads."""
    try:
        data = validated(data, support=ae.support, records=records, generated=True)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{name}: {error}") from None
    if "length" in data and "length" not in ae.columns:
        raise ValueError(
            f"{name}: length: this model does not read sequences of several lengths, as one with a "
            "recurrent network does: remove that column"
        )
    for column, shape in {"x": ae.event_shape, **ae.columns}.items():
        if column != "x" and column not in ae.reads:
            continue
        if column not in data:
            raise ValueError(
                f"{name}: the model reads {column!r}, which the data lacks: it has {sorted(data)}"
            )
        if data[column].shape[1:] != tuple(shape):
            raise ValueError(
                f"{name}: {column} has shape {list(data[column].shape)}; the model was built for "
                f"[{', '.join(['N', *map(str, shape)])}]"
            )
    try:
        if ae.check is not None:
            ae.check(first_rows(data), name == "train")
        if not isinstance(data, Generated):
            _check_variance(data, name)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    if name == "train":
        _warn_of_channels_first(ae.event_shape)
    return data


def _check_variance(data: Mapping[str, np.ndarray], name: str) -> None:
    """Raises `ValueError` for float columns of shards that never vary. Warns of single elements.

    Shards hold activations. Pixels and columns of a table may be constant.
    """
    for key, column in data.items():
        if isinstance(column, Shards) and column.dtype == np.float32 and column.ndim > 1:
            require_varied(key, column)
            if name == "train" and (constant := describe_constant(key, column)):
                log.warning("%s: %s", name, constant)


def check_examples(ae: Autoencoder, train: Mapping[str, np.ndarray]) -> None:
    """Raises `ValueError` for a model that needs more training examples."""
    count = len(train["x"])
    for name, least in ae.at_most_examples.items():
        require(least <= count, name, least, f"must be at most {count}, the number of examples")


def check_reach(ae: Autoencoder, train: Mapping[str, np.ndarray]) -> None:
    """Raises `ValueError` for training data that the model's output cannot reach."""
    low, high = ae.output_range
    if ae.target not in train or np.isinf(ae.output_range).all():
        return
    least, largest = value_range(first_rows(train), ae.target)
    slack = SLACK * (largest - least)
    if least < low - slack or largest > high + slack:
        raise ValueError(
            f"train: {ae.target} has values in [{least:.4g}, {largest:.4g}], and this model's "
            f"output lies in [{low:.4g}, {high:.4g}]: rescale the data, or use "
            "output_activation='linear'"
        )


def _warn_of_channels_first(shape: tuple[int, ...]) -> None:
    """Log a warning for images of 1, 3 or 4 rows and many channels, as of other libraries."""
    if len(shape) == 3 and shape[0] in (1, 3, 4) and min(shape[1:]) > 4:
        height, width, channels = shape
        log.warning(
            "images of shape %s are read as height %d, width %d and %d channels: if their channels "
            "come first, use x.transpose(0, 2, 3, 1)",
            list(shape),
            height,
            width,
            channels,
        )


def check_average(ema_decay: float | None) -> None:
    """Raises `ValueError` for a decay that is no average's."""
    if ema_decay is not None:
        require(0.0 <= ema_decay < 1.0, "ema_decay", ema_decay, "must be in [0, 1)")


def check_seed(seed: int) -> None:
    """Raises `ValueError` for a seed that jax would take modulo 2^32."""
    ok = isinstance(seed, int | np.integer) and 0 <= seed < LARGEST_SEED
    require(ok, "seed", seed, "must be an integer in [0, 2**32)")
