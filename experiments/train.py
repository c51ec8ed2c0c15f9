"""Train one model: writes metrics, checkpoints and figures to a run directory, and prints a table.

python -m experiments.train                                  the default: a VAE on the digits
python -m experiments.train simple --data.dir DIR            784-32-784 on MNIST
python -m experiments.train vae --model.latent-dim 2 --train.epochs 20 --run-dir runs/vae2
python -m experiments.train --resume runs/vae2               continue an interrupted run
python -m experiments.train CONFIG --dry-run                 only parameters, memory, FLOPs, time
python -m experiments.train --track tensorboard wandb        log to trackers too
python -m experiments.train CONFIG --help                    every option of a configuration

Several processes with the same command train one model together. Use --distributed under SLURM,
Open MPI, Kubernetes or on a TPU pod, and elsewhere --coordinator HOST:PORT --num-processes N
--process-id I.
"""

import contextlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from ae_jax.core import Autoencoder, metric_names
from ae_jax.data.real import counted
from ae_jax.devices.compilation import release_freed_memory
from ae_jax.devices.memory import SHARE, data_bytes, local_bytes
from ae_jax.devices.mesh import data_mesh, is_first_process, local
from ae_jax.evaluation import fit_pca, latent_metrics
from ae_jax.evaluation.baselines import linear_errors, weaknesses
from ae_jax.evaluation.batches import some
from ae_jax.evaluation.latents import encode_all
from ae_jax.evaluation.reconstruction import (
    mean_metrics,
    pixel_range,
    reconstruction_metrics,
)
from ae_jax.storage.runs import Run
from ae_jax.trackers import Tracker, make_trackers
from ae_jax.training import TrainState
from experiments.cli import (
    Command,
    parse,
    run_folder,
    run_main,
    use_cpu_devices,
    use_deterministic_operations,
)
from experiments.config import Config
from experiments.configs import CONFIGS
from experiments.data import described, load_split, scaled
from experiments.dry_run import estimate, show
from experiments.figures import draw_run
from experiments.progress import ProgressBar
from experiments.training import train

PCA_LIMIT = 4096  # elements of an example; PCA of larger ones is slow and needs much memory
UNITS = {
    "squared_error": "squared error, summed per example",
    "mse": "squared error, per element",
    "bce": "cross-entropy, nats per element",
    "psnr": "PSNR, dB",
    "ssim": "SSIM",
}


def main(argv: Sequence[str]) -> None:
    """Train one model with the arguments of a command line."""
    about = (__doc__ or "").partition("\n")[0]
    name, config, command = parse(
        argv, CONFIGS, default="digits", prog="python -m experiments.train", about=about
    )
    use_cpu_devices(command.devices)
    if command.deterministic:
        use_deterministic_operations()
    if command.several and not (command.resume or command.run_dir):
        raise ValueError("--run-dir: several processes need the same one: add --run-dir RUN")
    if command.dry_run and command.several:
        raise ValueError("--dry-run: is for one process; use --devices instead")
    if command.dry_run and command.resume:
        raise ValueError("--dry-run: estimates a new run: remove --resume")
    trackers = make_trackers(command.track)
    command.join()
    if command.resume or command.dry_run or command.several:
        place: Any = contextlib.nullcontext(command.resume or command.run_dir)
    else:
        place = run_folder(command.run_dir, name)
    with place as run_dir:
        _run(name, config, command, trackers, run_dir)


def _run(
    name: str,
    config: Config,
    command: Command,
    trackers: Sequence[Tracker],
    run_dir: str | Path,
) -> None:
    console = Console(quiet=not is_first_process())
    data = load_split(config.data, "train")
    test = load_split(config.data, "test")
    kept = Run.open(command.resume).config.get("statistics") if command.resume else None
    (data, test), statistics = scaled(config.data, (data, test), kept)
    console.print(f"{name}: {len(data['x'])} + {len(test['x'])} examples of {data['x'].shape[1:]}")
    devices = None if command.several else command.devices or None
    if command.dry_run:
        estimated = estimate(
            config, data, test, devices=devices, model_devices=command.model_devices
        )
        show(estimated, config, len(data["x"]), len(test["x"]), console, devices)
        return

    with ProgressBar(config.train.epochs, console) as progress:
        ae, (state, history) = train(
            config,
            data,
            test,
            statistics=statistics,
            run_dir=run_dir,
            resume=command.resume is not None,
            allow_changes=command.allow_changes,
            callbacks=[progress],
            trackers=trackers,
            devices=devices,
            model_devices=command.model_devices,
        )
    state = local(state)
    if not is_first_process():
        return
    release_freed_memory()  # the evaluation below compiles further programs
    run = Run.open(run_dir)
    for line in draw_run(run, ae, state, test, history):
        console.print(line)
    table, lines = _table(config, ae, state, data, test, history[-1])
    console.print(table)
    for line in lines:
        console.print(line, highlight=False, soft_wrap=True)
    for path in (run.path, *sorted(run.path.iterdir()), *sorted(run.path.glob("figures/*.png"))):
        console.print(f"  {path}", highlight=False, soft_wrap=True)


def _table(
    config: Config, ae: Autoencoder, state: TrainState, data: dict, test: dict, last: dict
) -> tuple[Table, list[str]]:
    """Return a table of the test metrics, compared with PCA of as many components if possible, and
    lines on what did not fit, and what the model did not learn.

    PCA is skipped if the examples are larger than `PCA_LIMIT`, or the data does not fit in memory.
    """
    rows = {f"objective: {name}": (last[name], "") for name in metric_names(ae.objective)}
    decoded = config.data.decode == "once"
    data, test = counted(data) if decoded else data, counted(test, like=data if decoded else None)
    variables, latents, lines = state.variables, 0, list[str]()
    if ae.method("encode") is not None:
        latents = encode_all(ae, variables, some(test, 1)).shape[1]
        for name, value in latent_metrics(ae, variables, test).items():
            rows[f"latents: {name.replace('_', ' ')}"] = (value, "")
    try:
        for name, value in reconstruction_metrics(ae, variables, test).items():
            rows[UNITS[name]] = (value, "")
        if decoded:
            lines += weaknesses(ae, variables, data, test)
    except ValueError as error:  # the model does not reconstruct its input
        lines.append(f"reconstruction skipped: {error}")
    size, memory = math.prod(ae.event_shape), local_bytes(data_mesh()) or math.inf
    small = decoded and size <= PCA_LIMIT and data_bytes(data) <= SHARE * memory
    pca = small and 0 < latents < min(size, len(data["x"])) and ae.target == "x"
    if pca:
        limits = pixel_range(ae, test)
        peak = None if limits is None else limits[1] - limits[0]
        errors = linear_errors(fit_pca(data["x"], latents), test, peak=peak)
        for name, value in mean_metrics(errors).items():
            if UNITS[name] in rows:
                rows[UNITS[name]] = (rows[UNITS[name]][0], f"{value:.5g}")
    table = Table(
        title=f"test metrics, {described(config.data)}, {latents} latents", title_justify="left"
    )
    table.add_column("metric (mean over examples)")
    table.add_column("ours", justify="right")
    if pca:
        table.add_column(f"PCA, {latents} components", justify="right")
    for name, (value, pca_value) in rows.items():
        table.add_row(name, f"{value:.5g}", *([pca_value] if pca else []))
    return table, lines


if __name__ == "__main__":
    run_main(main)
