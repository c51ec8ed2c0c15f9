"""The run directory: everything a run leaves behind, and nothing that runs when it is read.

RUN/config.json        what was run: model, data, training, seed (see `ae_jax.spec`)
    environment.json   where: versions, device, git commit, command
    metrics.jsonl      one JSON object a line: step, epoch, split, loss, every raw term, ...
    nonfinite.json     of a run that diverged: where, and with which examples
    checkpoints/STEP/  (see `ae_jax.storage.checkpoint`)
    figures/*.png      (see `ae_jax.plots`)
"""

import json
import math
import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import jax
import optax

from ae_jax.core import Autoencoder, TrainState, init_state
from ae_jax.devices.names import device_name
from ae_jax.files import append_whole, finite, read_json, require_regular, write_whole
from ae_jax.models import Model
from ae_jax.spec import from_dict, kinds_of, nearest, require
from ae_jax.storage.checkpoint import Checkpoints

FORMAT = 3
DTYPES = ("float32", "bfloat16")
_PACKAGES = ("ae_jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


@dataclass(frozen=True)
class Run:
    """An existing run directory."""

    path: Path

    @classmethod
    def create(cls, path: str | Path, config: Mapping[str, Any]) -> "Run":
        """Make the directory and write `config` and the environment into it.

        Raises `ValueError` if `path` exists and is not an empty directory, or cannot be written.
        """
        path, run = Path(path), cls(Path(path))
        json.dumps(config)  # what cannot be written is refused before anything is
        try:
            path.mkdir(parents=True, exist_ok=True)
            # Without a configuration it is one that was cut short while it was made.
            begun = {"figures", "environment.json", "environment.json.tmp", "metrics.jsonl"}
            if {entry.name for entry in path.iterdir()} - begun - {"config.json.tmp"}:
                raise ValueError(
                    f"run directory {path} exists and is not empty: continue it with resume=True, "
                    "or choose another"
                )
            (path / "figures").mkdir(exist_ok=True)
            _write_json(path / "environment.json", environment())
            write_whole(path / "metrics.jsonl", "")
            run.write_config(config)  # last: with it, the directory is a run
        except OSError as error:
            raise ValueError(f"cannot write run directory {path}: {error.strerror}") from None
        return run

    @classmethod
    def open(cls, path: str | Path) -> "Run":
        """Raises `ValueError` if `path` is not a run directory, or has links in it, through which
        a run would write elsewhere."""
        path = Path(path)
        if not (path / "config.json").is_file():
            raise ValueError(f"{path} is not a run directory: it has no config.json")
        for entry in (*path.glob("*"), *path.glob("figures/*")):
            if entry.is_symlink():
                raise ValueError(f"{entry} is a link: a run directory has none inside")
        return cls(path)

    @property
    def config(self) -> dict[str, Any]:
        """`config.json`, less its format number. `ValueError` if it is not one this code reads."""
        file = self.path / "config.json"
        try:
            config = read_json(file)
            version = config.pop("format")
        except (ValueError, KeyError, AttributeError, TypeError):
            raise ValueError(f"{file} is not the configuration of a run") from None
        if version != FORMAT:
            raise ValueError(
                f"{file} has format {version!r}, and this version of ae_jax reads {FORMAT}: "
                "read it with the version that wrote it"
            )
        return config

    def write_config(self, config: Mapping[str, Any]) -> None:
        """Replace `config.json`, as a resumed run does that goes on for longer."""
        _write_json(self.path / "config.json", {"format": FORMAT, **config})

    def checkpoints(self, *, read_only: bool = False) -> Checkpoints:
        return Checkpoints(self.path / "checkpoints", read_only=read_only)

    def write_report(self, report: Mapping[str, Any]) -> None:
        """Write `nonfinite.json`: the update that ended the training (see `training.diagnosis`)."""
        _write_json(self.path / "nonfinite.json", report)

    def log(self, row: Mapping[str, Any]) -> None:
        """Append one row to `metrics.jsonl`, in one write. JSON has no NaN: that is null there."""
        append_whole(self.path / "metrics.jsonl", _line(row))

    def rows(self) -> list[dict[str, Any]]:
        """The rows of `metrics.jsonl`; a last line that was cut short is left out.

        Raises `ValueError` naming the first other line that is not a row.
        """
        file, rows = self.path / "metrics.jsonl", []
        require_regular(file)
        for number, line in enumerate(file.read_bytes().splitlines(keepends=True), start=1):
            if not line.endswith(b"\n"):
                break
            try:
                row = json.loads(line)
                if type(row["step"]) is not int:
                    raise TypeError("its step is not an integer")
            except (ValueError, KeyError, TypeError, RecursionError) as error:
                raise ValueError(f"{file}: line {number} is not a row: {error!r}") from None
            rows.append({k: math.nan if value is None else value for k, value in row.items()})
        return rows

    def rows_until(self, step: int) -> list[dict[str, Any]]:
        """The rows of `metrics.jsonl` up to `step`: a resumed run will write the others again."""
        return [row for row in self.rows() if row["step"] <= step]

    def rewrite(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Make these all the rows of `metrics.jsonl`."""
        write_whole(self.path / "metrics.jsonl", "".join(map(_line, rows)))


class LoadedRun(NamedTuple):
    """Ready to use: ``ae.encode(state.variables, x)``, ``ae.decode(state.variables, z)``."""

    ae: Autoencoder
    state: TrainState
    config: dict[str, Any]


def load_run(
    path: str | Path,
    step: int | None = None,
    *,
    models: Any = Model,
    ae: Autoencoder | None = None,
) -> LoadedRun:
    """The model of a run directory and its state at `step` (default: the newest checkpoint).

    The state's ``opt_state`` is None: this is for using a model, not for resuming.

    Args:
      path: the run directory.
      step: of the checkpoint.
      models: the specifications that the run may name: ``Model | Mine`` adds one of your own.
        Nothing else is ever built.
      ae: the model itself, for a run of a module that was made by hand.

    Raises `ValueError` for a damaged run, or a model that `models` does not have.
    """
    run = Run.open(path)
    config = run.config
    ae = build_model(config, f"{run.path}/config.json", models, ae)
    settings = config.get("train")
    ema = isinstance(settings, dict) and settings.get("ema_decay") is not None
    target = jax.eval_shape(lambda: init_state(ae, optax.identity(), jax.random.key(0), ema=ema))
    state = run.checkpoints(read_only=True).restore(target.replace(opt_state=None), step)
    return LoadedRun(ae, state, config)


def build_model(
    config: Mapping[str, Any], file: str, models: Any = Model, ae: Autoencoder | None = None
) -> Autoencoder:
    """The model that `config`, of this file, describes: one of `models`, or `ae` itself.

    Raises `ValueError`, one line, for anything else.
    """
    described = config.get("model")
    if described is None and ae is None:
        raise ValueError(
            f"{file} names no model: its module was made by hand; make it again and give it as ae="
        )
    shape, dtype = config.get("event_shape"), config.get("dtype", "float32")
    ok = isinstance(shape, list) and all(type(n) is int and n > 0 for n in shape)
    require(ok, f"{file}: event_shape", shape, "must be a list of positive integers")
    require(dtype in DTYPES, f"{file}: dtype", dtype, f"must be one of {', '.join(DTYPES)}")
    if ae is not None:
        needs = f"the given ae was built for {list(ae.event_shape)}"
        require(shape == list(ae.event_shape), f"{file}: event_shape", shape, needs)
        return replace(ae, dtype=jax.numpy.dtype(dtype))
    kind = described.get("kind") if isinstance(described, dict) else None
    if isinstance(kind, str) and kind not in kinds_of(models):
        raise ValueError(
            f"{file}: model={kind!r}: {nearest(kind, kinds_of(models))}; for a model of your own "
            "give models=Model | YourSpec"
        )
    spec = from_dict(models, described, where="model")
    return replace(spec.build(tuple(shape or ())), dtype=jax.numpy.dtype(dtype))


def environment() -> dict[str, Any]:
    """Versions, device, git commit (None outside a checkout), command and time, JSON-ready."""
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": ["python", *sys.orig_argv[1:]],
        "git_commit": _git_commit(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: metadata.version(name) for name in _PACKAGES},
        "backend": jax.default_backend(),
        "device": device_name(),
        "device_count": jax.device_count(),
        "cpu_count": os.cpu_count(),
    }


def _git_commit() -> str | None:
    folder = Path(__file__).parent
    git = ["git", "-C", str(folder)]
    try:
        commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True)
        status = subprocess.run([*git, "status", "--porcelain"], capture_output=True, text=True)
    except OSError:  # git is not installed
        return None
    if commit.returncode != 0:
        return None
    return commit.stdout.strip() + ("-dirty" if status.stdout.strip() else "")


def differences(old: Any, new: Any, where: str = "") -> list[str]:
    """What two configurations differ in: ``["train.epochs is 3 there and 4 here", ...]``."""
    if isinstance(old, dict) and isinstance(new, dict):
        return [
            difference
            for name in sorted(old.keys() | new.keys())
            for difference in differences(
                old.get(name), new.get(name), f"{where}.{name}" if where else name
            )
        ]
    return [] if old == new else [f"{where} is {old} there and {new} here"]


def _line(row: Mapping[str, Any]) -> str:
    return json.dumps(finite(row)) + "\n"


def _write_json(path: Path, data: Any) -> None:
    write_whole(path, json.dumps(finite(data), indent=2) + "\n")
