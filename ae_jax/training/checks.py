"""What a training run is given, checked before anything is traced or written."""

from collections.abc import Mapping

import numpy as np
from jax.typing import ArrayLike

from ae_jax.core import Autoencoder
from ae_jax.data import validated
from ae_jax.networks import RNN
from ae_jax.spec import require

Examples = ArrayLike | Mapping[str, ArrayLike]


def checked_data(
    ae: Autoencoder, data: Examples, name: str, *, records: bool = False
) -> dict[str, np.ndarray]:
    """`data` validated, and of the shape the model was built for."""
    try:
        data = validated(data, unit_interval=ae.unit_interval, records=records)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{name}: {error}") from None
    network = getattr(ae.spec, "network", None)
    if "length" in data and network is not None and not isinstance(network, RNN):
        raise ValueError(
            f"{name}: length: only a recurrent network reads sequences of several lengths, and "
            f"this one is {network.kind}: leave it out"
        )
    if data["x"].shape[1:] != ae.event_shape:
        raise ValueError(
            f"{name}: x has shape {list(data['x'].shape)}; the model was built for "
            f"[N, {', '.join(map(str, ae.event_shape))}]"
        )
    return data


def check_settings(
    count: int,
    *,
    batch_size: int,
    epochs: int | None = None,
    steps: int | None = None,
    log_every: int | None = None,
    checkpoint_every: int | None = None,
    ema_decay: float | None = None,
    accumulate: int = 1,
    max_skips: int = 0,
) -> None:
    """Raises `ValueError` for settings of `fit` that cannot work with `count` examples."""
    if (epochs is None) == (steps is None):
        raise ValueError(f"epochs={epochs}, steps={steps}: give exactly one of them")
    for name, value in (
        ("epochs", epochs), ("steps", steps), ("batch_size", batch_size),
        ("log_every", log_every), ("checkpoint_every", checkpoint_every),
        ("accumulate", accumulate),
    ):  # fmt: skip
        if value is not None:
            ok = isinstance(value, int | np.integer) and int(value) >= 1
            require(ok, name, value, "must be an integer >= 1")
    ok = isinstance(max_skips, int | np.integer) and max_skips >= 0
    require(ok, "max_skips", max_skips, "must be an integer >= 0")
    if batch_size * accumulate > count:
        times = f", {accumulate} times" if accumulate > 1 else ""
        raise ValueError(f"batch_size={batch_size}{times}: larger than the data, {count} examples")
    if ema_decay is not None:
        require(0.0 <= ema_decay < 1.0, "ema_decay", ema_decay, "must be in [0, 1)")
