"""Train the model of a `Config`, with its pretraining."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ae_jax.core import Autoencoder
from ae_jax.data.memory import steps_per_epoch
from ae_jax.data.real import real_rows
from ae_jax.data.standardize import Statistics
from ae_jax.pretraining import fit_greedy, pretrain_rbm_stack
from ae_jax.spec import to_dict
from ae_jax.trackers import Tracker
from ae_jax.training import Callback, FitResult, fit
from experiments.config import Config


def train(
    config: Config,
    data: Mapping[str, np.ndarray],
    eval_data: Mapping[str, np.ndarray] | None = None,
    *,
    statistics: Statistics | None = None,
    params: Any = None,
    run_dir: str | Path,
    resume: bool = False,
    callbacks: Sequence[Callback] = (),
    trackers: Sequence[Tracker] = (),
    devices: int | None = 1,
    model_devices: int = 1,
    allow_changes: bool = False,
) -> tuple[Autoencoder, FitResult]:
    """Train the model of `config`, and return it with the result of `fit`.

    Pretraining is part of it if `config` says so. Pretraining saves no checkpoints: a run that is
    interrupted during it starts again. `statistics` are those of data that is standardized, which
    the run keeps (see `experiments.data.scaled`). `params` are initial parameters, instead of
    random or pretrained ones. See `fit` for the other arguments.
    """
    settings = config.train
    ae = replace(config.model.build(data["x"].shape[1:]), dtype=jnp.dtype(settings.dtype))
    sizes = settings.sizes(len(data["x"]))
    result = fit(
        ae,
        data,
        epochs=settings.epochs,
        batch_size=sizes.part,
        optimizer=settings.make_optimizer(sizes.total),
        seed=config.seed,
        params=partial(_pretrained, ae, config, real_rows(data)["x"], sizes.part)
        if params is None
        else params,
        eval_data=eval_data,
        callbacks=callbacks,
        trackers=trackers,
        run_dir=run_dir,
        config={**to_dict(config), "statistics": statistics},
        resume=resume,
        allow_changes=allow_changes,
        max_skips=settings.max_skips,
        log_every=settings.log_every,
        checkpoint_every=settings.checkpoint_every,
        ema_decay=settings.ema_decay,
        accumulate=settings.accumulate,
        devices=devices,
        model_devices=model_devices,
        stream=settings.stream,
    )
    return ae, result


def _pretrained(
    ae: Autoencoder, config: Config, x: np.ndarray, batch_size: int
) -> dict[str, Any] | None:
    settings = config.train
    if settings.pretrain == "none":
        return None
    if jax.process_count() > 1:
        raise ValueError(
            f"train.pretrain={settings.pretrain}: is for one process; use --devices instead"
        )
    if config.data.decode == "always":
        raise ValueError(
            f"train.pretrain={settings.pretrain}: needs decoded data: use --data.decode once"
        )
    if settings.pretrain == "rbm":
        return pretrain_rbm_stack(ae, x, epochs=settings.pretrain_epochs, seed=config.seed)
    return fit_greedy(
        ae,
        x,
        epochs=settings.pretrain_epochs,
        batch_size=batch_size,
        optimizer=settings.make_optimizer(
            settings.pretrain_epochs * steps_per_epoch(len(x), batch_size)
        ),
        seed=config.seed,
    )
