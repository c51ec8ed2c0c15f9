"""The run directory: all files of one training run. Reading them runs no code.

RUN/config.json        model, data, training settings, seed (see `ae_jax.spec`), and
                       fingerprints of the data
    environment.json   versions, device, git commit and command line
    metrics.jsonl      one JSON object per line: step, epoch, split, loss, every raw term, ...
    lock               only while a process trains (see `ae_jax.storage.claim`)
    nonfinite.json     only after a divergence: its first step and examples
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
import numpy as np
import optax

from ae_jax.core import Autoencoder, TrainState, init_state
from ae_jax.devices.names import device_name
from ae_jax.files import (
    append_whole,
    finite,
    read_json,
    require_regular,
    user_path,
    write_whole,
)
from ae_jax.models import Model
from ae_jax.models.standardized import standardized
from ae_jax.spec import from_dict, kinds_of, nearest, require
from ae_jax.storage.checkpoint import Checkpoints
from ae_jax.storage.claim import make_empty

FORMAT = 4
DTYPES = ("float32", "bfloat16")
_PACKAGES = ("ae_jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


@dataclass(frozen=True)
class Run:
    """An existing run directory."""

    path: Path

    @classmethod
    def create(cls, path: str | Path, config: Mapping[str, Any]) -> "Run":
        """Create a run directory with `config` and a description of the environment.

        Raises `ValueError` if `path` exists and is not an empty directory, or cannot be written,
        and `TypeError` if `config` is not JSON-ready.
        """
        path = user_path(path)
        run = cls(path)
        json.dumps(config)  # raises before anything is written
        try:
            make_empty(path)
            (path / "figures").mkdir(exist_ok=True)
            _write_json(path / "environment.json", environment())
            write_whole(path / "metrics.jsonl", "")
            run.write_config(config)  # last, because its presence makes the directory a run
        except OSError as error:
            raise ValueError(f"cannot write run directory {path}: {error.strerror}") from None
        return run

    @classmethod
    def open(cls, path: str | Path) -> "Run":
        """Return the run in an existing directory.

        Raises `ValueError` if `path` is not a run directory, or if it contains symbolic links,
        which could redirect what a run writes.
        """
        path = user_path(path)
        if not (path / "config.json").is_file():
            raise ValueError(f"{path} is not a run directory: it has no config.json")
        for entry in (*path.glob("*"), *path.glob("figures/*")):
            if entry.is_symlink():
                raise ValueError(f"{entry} is a link: replace it by a copy of its target")
        return cls(path)

    @property
    def config(self) -> dict[str, Any]:
        """The content of `config.json`, without its format number.

        Raises `ValueError` if the file is damaged or has another format.
        """
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
        """Replace `config.json`, for example if a resumed run trains for more epochs."""
        _write_json(self.path / "config.json", {"format": FORMAT, **config})

    def checkpoints(self, *, read_only: bool = False) -> Checkpoints:
        """Return the checkpoints of this run (see `ae_jax.storage.checkpoint`)."""
        return Checkpoints(self.path / "checkpoints", read_only=read_only)

    def write_report(self, report: Mapping[str, Any]) -> None:
        """Write `nonfinite.json`, the report of a divergence (see `ae_jax.training.diagnosis`)."""
        _write_json(self.path / "nonfinite.json", report)

    def log(self, row: Mapping[str, Any]) -> None:
        """Append one row to `metrics.jsonl` in a single write. NaN and infinities become null."""
        append_whole(self.path / "metrics.jsonl", _line(row))

    def rows(self) -> list[dict[str, Any]]:
        """Return the rows of `metrics.jsonl`, oldest first, with NaN in place of null.

        An incomplete last line is skipped. Raises `ValueError` with the first other line that is
        not a row.
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
            rows.append({name: _number(value) for name, value in row.items()})
        return rows

    def rows_until(self, step: int) -> list[dict[str, Any]]:
        """Return the rows up to and including `step`; a resumed run writes the later ones again."""
        return [row for row in self.rows() if row["step"] <= step]

    def rewrite(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Replace the content of `metrics.jsonl` by `rows`."""
        write_whole(self.path / "metrics.jsonl", "".join(map(_line, rows)))


class LoadedRun(NamedTuple):
    """A trained model: ``ae.encode(state.variables, x)``, ``ae.decode(state.variables, z)``."""

    ae: Autoencoder
    state: TrainState
    config: dict[str, Any]


def load_run(
    path: str | Path,
    step: int | None = None,
    *,
    models: Any = Model,
    ae: Autoencoder | None = None,
    data_units: bool = True,
) -> LoadedRun:
    """Return the model of a run directory and its trained state, ready to use.

    The state's ``opt_state`` is None, so it cannot resume the training: use ``fit(resume=True)``.

    Args:
      path: the run directory.
      step: the step of the checkpoint; by default the newest intact one.
      models: the specifications that the run may name. ``Model | Mine`` adds one of your own. No
        other class is ever built.
      ae: the model itself, if the run trained a hand-made module instead of a specification.
      data_units: of a run that standardizes its data, whether the model takes and returns data in
        its own units. If False, it is the model of standardized data (see
        `ae_jax.data.standardize`).

    Raises:
      ValueError: a damaged run, or a model that is not in `models`.
    """
    run = Run.open(path)
    config = run.config
    if "sweep" in config:
        raise ValueError(f"{run.path} is a sweep of several runs: choose one of its folders")
    file = f"{run.path}/config.json"
    ae = build_model(config, file, models, ae, data_units=data_units)
    settings = config.get("train")
    ema = isinstance(settings, dict) and settings.get("ema_decay") is not None
    target = jax.eval_shape(lambda: init_state(ae, optax.identity(), jax.random.key(0), ema=ema))
    state = run.checkpoints(read_only=True).restore(target.replace(opt_state=None), step)
    return LoadedRun(ae, state, config)


def build_model(
    config: Mapping[str, Any],
    file: str,
    models: Any = Model,
    ae: Autoencoder | None = None,
    *,
    data_units: bool = True,
) -> Autoencoder:
    """Return the model that `config` describes: one of `models`, or `ae` in its dtype.

    If the data was standardized, the model is of the data itself, unless `data_units` is False.
    `file` is the name of the configuration in error messages. Raises `ValueError` if the
    configuration is invalid, or does not match `models` or `ae`.
    """
    described = config.get("model")
    if described is None and ae is None:
        raise ValueError(
            f"{file} names no model, because its module was made by hand: build it again and pass "
            "it as ae=..."
        )
    shape, dtype = config.get("event_shape"), config.get("dtype", "float32")
    ok = isinstance(shape, list) and all(type(n) is int and n > 0 for n in shape)
    require(ok, f"{file}: event_shape", shape, "must be a list of positive integers")
    require(dtype in DTYPES, f"{file}: dtype", dtype, f"must be one of {', '.join(DTYPES)}")
    if ae is not None:
        expected = f"must be {list(ae.event_shape)}, the event_shape of ae"
        require(shape == list(ae.event_shape), f"{file}: event_shape", shape, expected)
    else:
        ae = _from_spec(described, shape, file, models)
    ae = replace(ae, dtype=jax.numpy.dtype(dtype))
    statistics = config.get("statistics") if data_units else None
    return ae if statistics is None else standardized(ae, statistics, f"{file}: statistics")


def _from_spec(described: Any, shape: Any, file: str, models: Any) -> Autoencoder:
    kind = described.get("kind") if isinstance(described, dict) else None
    if isinstance(kind, str) and kind not in kinds_of(models):
        raise ValueError(
            f"{file}: model={kind!r}: {nearest(kind, kinds_of(models))}; for a model of your own "
            "pass models=Model | YourSpec"
        )
    ae: Autoencoder = from_dict(models, described, where="model").build(tuple(shape))
    return ae


def environment() -> dict[str, Any]:
    """Return versions, device, git commit (None outside a checkout), command line and time."""
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
    """Return how two configurations differ: ``["train.epochs is 3 in the run and 4 now", ...]``."""
    if isinstance(old, dict) and isinstance(new, dict):
        return [
            difference
            for name in sorted(old.keys() | new.keys())
            for difference in differences(
                old.get(name), new.get(name), f"{where}.{name}" if where else name
            )
        ]
    return [] if old == new else [f"{where} is {old} in the run and {new} now"]


def _number(value: Any) -> Any:
    """A value of a row, with NaN in place of null; that of a sweep is a list."""
    if isinstance(value, list):
        return [_number(one) for one in value]
    return math.nan if value is None else value


def _line(row: Mapping[str, Any]) -> str:
    values = {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in row.items()}
    return json.dumps(finite(values)) + "\n"


def _write_json(path: Path, data: Any) -> None:
    write_whole(path, json.dumps(finite(data), indent=2) + "\n")
