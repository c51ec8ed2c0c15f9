"""Checkpoints of a run, by step. The only place that knows orbax.

A checkpoint has two parts: ``model`` (parameters, averaged parameters, untrained collections), all
that encoding and decoding need, and ``training`` (optimiser, key, step), which resuming needs too.
A save is atomic: a checkpoint is there whole or not at all.
"""

import logging
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from ae_jax.state import TrainState

_MODEL = ("params", "ema_params", "model_state")


class Checkpoints:
    """The checkpoints under `directory`, of which the newest `keep` are kept (None: all).

    Leftovers of saves that were cut short are removed, unless it is opened `read_only`, which
    changes nothing on the disk.
    """

    def __init__(
        self, directory: str | Path, *, keep: int | None = 2, read_only: bool = False
    ) -> None:
        logging.getLogger("absl").setLevel(logging.ERROR)  # orbax announces each file it writes
        self.directory = Path(directory).absolute()
        options = ocp.CheckpointManagerOptions(
            max_to_keep=keep,
            enable_async_checkpointing=False,
            cleanup_tmp_directories=not read_only,
            read_only=read_only,
            create=False,
        )
        if not read_only:
            self.directory.mkdir(parents=True, exist_ok=True)
        elif not self.directory.is_dir():
            raise ValueError(f"no checkpoint in {self.directory}: the run saved none")
        self._manager = ocp.CheckpointManager(
            self.directory,
            options=options,
            item_handlers={name: ocp.StandardCheckpointHandler() for name in ("model", "training")},
        )

    def steps(self) -> list[int]:
        """Steps that have a complete checkpoint, oldest first."""
        return sorted(self._manager.all_steps())

    def save(self, state: TrainState) -> None:
        """Write a checkpoint of `state` under its own step; a no-op if there is one already."""
        step = int(state.step)
        if step in self.steps():
            return
        model, training = _split(state)
        save = ocp.args.StandardSave
        self._manager.save(
            step, args=ocp.args.Composite(model=save(model), training=save(training))
        )

    def restore(self, target: TrainState, step: int | None = None) -> TrainState:
        """The state saved at `step` (default: the newest), with the structure of `target`.

        `target` may be abstract (`jax.eval_shape`). If its ``opt_state`` is None only the model is
        read. Raises `ValueError` naming the first array that differs in shape or dtype.
        """
        step = self._existing(step)
        model, training = _split(target)
        parts = {"model": model} | ({} if target.opt_state is None else {"training": training})
        for name, part in parts.items():
            self._check(step, name, part)
        restored = self._manager.restore(
            step,
            args=ocp.args.Composite(
                **{name: ocp.args.StandardRestore(_abstract(p)) for name, p in parts.items()}
            ),
        )
        if target.opt_state is None:
            return target.replace(step=jax.numpy.int32(step), **restored["model"])
        key = jax.random.wrap_key_data(restored["training"]["key"])
        return TrainState(**restored["model"], **(dict(restored["training"]) | {"key": key}))

    def _existing(self, step: int | None) -> int:
        steps = self.steps()
        if not steps:
            raise ValueError(f"no checkpoint in {self.directory}: the run saved none")
        if step is None:
            return steps[-1]
        if step not in steps:
            raise ValueError(f"no checkpoint of step {step} in {self.directory}; there are {steps}")
        return step

    def _check(self, step: int, name: str, part: Any) -> None:
        stored = _flat(self._manager.item_metadata(step)[name].tree)
        wanted = _flat(_abstract(part))
        for path in sorted(stored.keys() ^ wanted.keys()):
            side = "checkpoint" if path in stored else "model"
            raise ValueError(f"{self.directory}/{step}: only the {side} has {name}{path}")
        for path, want in wanted.items():
            have = stored[path]
            if tuple(have.shape) != want.shape or have.dtype != want.dtype:
                raise ValueError(
                    f"{self.directory}/{step}: {name}{path} is {have.dtype}{list(have.shape)} in "
                    f"the checkpoint, {want.dtype}{list(want.shape)} in the model"
                )


def _split(state: TrainState) -> tuple[dict[str, Any], dict[str, Any]]:
    model = {name: getattr(state, name) for name in _MODEL}
    key = jax.eval_shape(jax.random.key_data, state.key)
    if not isinstance(state.key, jax.ShapeDtypeStruct):
        key = jax.random.key_data(state.key)
    return model, {"step": state.step, "key": key, "opt_state": state.opt_state}


def _abstract(tree: Any) -> Any:
    # With a sharding, so that orbax restores to where the target's arrays live.
    one = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])

    def describe(a: Any) -> jax.ShapeDtypeStruct:
        place = getattr(a, "sharding", None) or one
        return jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=place)

    return jax.tree.map(describe, tree)


def _flat(tree: Any) -> dict[str, Any]:
    """Leaves by path; the path is written as orbax stores it, attributes and keys alike."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {
        "/" + "/".join(str(jax.tree_util.keystr((entry,), simple=True)) for entry in path): leaf
        for path, leaf in leaves
    }
