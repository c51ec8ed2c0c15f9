"""python -m experiments.stress.worker: a short training in a process that others kill.

It resumes RUN if that exists. At each start it appends the step of its first logged row to
RUN.starts; at the end it writes the SHA-256 of the final state to RUN.final.
"""

import hashlib
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import flax.linen as nn
import jax
import numpy as np
import tyro

from ae_jax import Autoencoder, Term, TrainState, fit, losses
from ae_jax.core import by_path
from ae_jax.models import Variational
from ae_jax.networks import MLP
from experiments.cli import parse_options, run_main

KINDS = ("vae", "norm", "stream")
LOG_EVERY = 5


@dataclass(frozen=True, kw_only=True)
class Options:
    kind: Annotated[Literal["vae", "norm", "stream"], tyro.conf.Positional]
    run: Annotated[Path, tyro.conf.Positional]
    epochs: int = 20


class Normalized(nn.Module):
    """An autoencoder with untrained state: the running averages of batch normalization."""

    @nn.compact
    def __call__(self, x: jax.Array) -> dict[str, jax.Array]:
        running = not self.is_mutable_collection("batch_stats")
        h = nn.BatchNorm(use_running_average=running)(nn.Dense(24)(x.reshape(x.shape[0], -1)))
        z = nn.Dense(3)(nn.relu(h))
        return {"z": z, "logits": nn.Dense(64)(z).reshape(x.shape)}


def autoencoder(kind: str) -> Autoencoder:
    """A small model: with batch normalization for the kind "norm", else a VAE."""
    if kind == "norm":
        term = Term(lambda out, batch: losses.bce(out["logits"], batch["x"]))
        return Autoencoder(Normalized(), {"bce": term}, (8, 8, 1), unit_interval=True)
    return Variational(network=MLP(widths=(48,)), latent_dim=2).build((8, 8, 1))


def train(kind: str, run: Path, epochs: int, callbacks: Sequence[Any] = ()) -> TrainState:
    """Train a model of one kind, or resume it in `run`."""
    x = np.random.default_rng(0).integers(0, 256, (1400, 8, 8, 1), np.uint8)
    state, _ = fit(
        autoencoder(kind),
        {"x": x[:1000]},
        epochs=epochs,
        batch_size=100,
        eval_data={"x": x[1000:]},
        run_dir=run,
        resume=run.exists(),
        log_every=LOG_EVERY,
        checkpoint_every=2,
        ema_decay=0.9,
        stream=kind == "stream",
        callbacks=callbacks,
    )
    return state


def digest(state: TrainState) -> str:
    """SHA-256 of every array of a state: parameters, averages, optimizer, key, step."""
    checksum = hashlib.sha256()
    for path, leaf in by_path(state.replace(key=jax.random.key_data(state.key))).items():
        array = np.asarray(leaf)
        checksum.update(f"{path} {array.dtype} {array.shape}".encode() + array.tobytes())
    return checksum.hexdigest()


def main(argv: Sequence[str]) -> None:
    options = parse_options(argv, Options, prog="python -m experiments.stress.worker", about=None)
    # A process that was started in the background ignores SIGINT.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    started = False

    def announce(state: TrainState, row: dict[str, Any]) -> None:
        nonlocal started
        if not started:
            started = True
            with open(f"{options.run}.starts", "a") as file:
                file.write(f"{row['step']}\n")

    state = train(options.kind, options.run, options.epochs, [announce])
    Path(f"{options.run}.final").write_text(digest(state))


if __name__ == "__main__":
    run_main(main)
