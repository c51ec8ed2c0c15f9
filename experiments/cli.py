"""The command line: a configuration with overrides, and errors of one line with exit code 2."""

import contextlib
import io
import itertools
import logging
import os
import re
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, TypeVar

import jax
import tyro

from ae_jax.devices.compilation import use_compilation_cache
from ae_jax.files import user_path
from ae_jax.models import Model
from ae_jax.spec import from_dict, kinds_of, nearest, require, to_dict
from ae_jax.storage.claim import made
from ae_jax.storage.runs import Run, differences
from ae_jax.training import DivergedError
from experiments.config import Config, widened
from experiments.data import absolute
from experiments.flags import FlagsFormatter, as_flags
from experiments.kinds import with_kinds
from experiments.printing import survive_lost_readers
from experiments.processes import Processes
from experiments.user_file import is_file_name, load_user_file

MOST_DEVICES = 1024  # per process; a CPU would try to simulate any number
_RESUMABLE = {"train.epochs", "train.log_every", "train.checkpoint_every", "train.stream"}
_RESUMABLE |= {"train.max_skips", "data.name", "data.dir", "data.decode"}  # checksums are compared
_DERIVED = ("event_shape", "dtype", "fit", "fingerprint", "statistics", "sweep")
"""The parts of a run's configuration that follow from the others and the data."""

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Command(Processes, Config):
    """A `Config` and the options of one run."""

    run_dir: str | None = None
    """The run directory; by default a new one under runs/."""
    resume: str | None = None
    """A run directory to continue with its own configuration (instead of CONFIG)."""
    devices: int = 1
    """Number of devices to split each batch over (0: all). A CPU simulates this number."""
    model_devices: int = 1
    """Number of these devices that share what is too wide for one, as the latents of a dictionary.
    Batches are then split over DEVICES / MODEL_DEVICES."""
    allow_changes: bool = False
    """With --resume: continue even if settings or data have changed since the run began."""
    deterministic: bool = False
    """On a GPU, use only operations that give the same bits every time (a CPU has no others)."""
    dry_run: bool = False
    """Only show parameters, memory, FLOPs and time. Make no run directory."""
    track: tuple[str, ...] = ()
    """Trackers to log to, in addition to metrics.jsonl: tensorboard, wandb, mlflow, trackio."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check()
        ok = 0 <= self.devices <= MOST_DEVICES
        require(ok, "devices", self.devices, f"must be in 0 .. {MOST_DEVICES}")
        ok = self.model_devices >= 1
        require(ok, "model_devices", self.model_devices, "must be at least 1")


def parse(
    argv: Sequence[str],
    configs: Mapping[str, Config],
    *,
    default: str,
    prog: str,
    about: str,
    options: type[Command] = Command,
    sweep: bool = False,
) -> tuple[str, Config, Any]:
    """Parse ``[CONFIG] [--field value ...]``; return the name, the `Config` and the command.

    CONFIG is a name in `configs`, or a file of your own (see `experiments.user_file`). `options`
    is `Command`, or a subclass with more options. Only a `sweep` can resume a sweep.

    Raises `ValueError` for an invalid command line, and exits after ``--help``.
    """
    argv, models = list(argv), Model
    name = argv.pop(0) if argv and not argv[0].startswith("-") else None
    user_file = load_user_file(name) if name is not None and is_file_name(name) else None
    if user_file is not None:
        models = user_file.models
    resume = _resumed(argv)
    if resume is not None:
        if name is not None and user_file is None:
            raise ValueError(f"--resume {resume} has its own configuration: remove {name!r}")
        base = stored_config(resume, models, sweep=sweep)
        name = os.path.basename(os.path.abspath(resume))
    elif user_file is not None:
        name, base = user_file.name, user_file.config
    else:
        name = name or default
        if name not in configs:
            raise ValueError(f"no configuration {name!r}: {nearest(name, configs)}")
        base = configs[name]
    about = (
        f"{about}\n\nCONFIG (default: {default}): {', '.join(sorted(configs))}, or a file.py\n\n"
        "--model.PART.kind NAME replaces a part, such as network, by one with its own options"
    )
    argv, chosen = with_kinds(argv, base, models)
    cls = widened(options, models)
    command = parse_options(
        argv,
        cls,
        prog=f"{prog} [CONFIG]",
        about=about,
        default=cls(**_shallow(chosen), resume=resume),
    )
    config = Config(**{f.name: getattr(command, f.name) for f in fields(Config)})
    config = replace(config, data=absolute(config.data))
    if command.allow_changes and resume is None:
        raise ValueError("--allow-changes: needs --resume RUN: add it, or remove --allow-changes")
    if resume is not None:
        if not command.allow_changes:
            _refuse_changes(base, config, resume)
        if command.run_dir is not None:
            raise ValueError(
                f"--run-dir {command.run_dir}: --resume writes to {resume}: remove --run-dir"
            )
    return name, config, command


def stored_config(path: str, models: Any = Model, *, sweep: bool = False) -> Config:
    """Return the `Config` of a run directory, or of a `sweep`, whose model is one of `models`.

    Raises `ValueError` if the run was not made by this command, or its model is not in `models`.
    """
    data = Run.open(path).config
    if "data" not in data:
        raise ValueError(f"{path} was not made by this command: continue it with fit(resume=True)")
    if "sweep" in data and not sweep:
        raise ValueError(
            f"{path} is a sweep: choose one of the runs in it (to continue all of them: "
            "experiments.sweep --resume)"
        )
    if sweep and "sweep" not in data:
        raise ValueError(f"{path} is not a sweep: continue it with experiments.train --resume")
    if "objective_weights" in data:
        raise ValueError(
            f"{path} is a run of a sweep over loss weights, and cannot be continued: start a new "
            "sweep with more epochs"
        )
    for name in _DERIVED:
        data.pop(name, None)
    kind = data["model"].get("kind") if isinstance(data.get("model"), dict) else None
    if isinstance(kind, str) and kind not in kinds_of(models):
        raise ValueError(
            f"{path}/config.json: model={kind!r}: {nearest(kind, kinds_of(models))}; for a model "
            "of your own put its configuration file first: my_config.py"
        )
    return from_dict(widened(Config, models), data, where=f"{path}/config.json")


def parse_options(
    argv: Sequence[str], options: type[T], *, prog: str, about: str | None, default: T | None = None
) -> T:
    """Return the options of a script, a dataclass, from its command line.

    Raises `ValueError` for an invalid command line, and exits after ``--help``.
    """
    errors = io.StringIO()
    defaults: dict[str, Any] = {} if default is None else {"default": default}
    try:
        with contextlib.redirect_stderr(errors):
            return tyro.cli(
                options,
                args=argv,
                prog=prog,
                description=about,
                config=(tyro.conf.AvoidSubcommands,),
                **defaults,
            )
    except SystemExit as stop:
        if not stop.code:
            raise
    raise ValueError(_flatten(errors.getvalue()))


@contextlib.contextmanager
def one_line_errors() -> Iterator[None]:
    """Print an error as one line, and exit with its code.

    Invalid input (our `ValueError`, `TypeError` or `OSError`) exits with code 2, a training that
    diverged with 1, and Ctrl-C with 130 without a message. An error while jax traces a model is a
    bug, and keeps its traceback.
    """
    try:
        yield
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
    except DivergedError as error:
        print(f"error: {as_flags(str(error))}", file=sys.stderr)
        sys.exit(1)
    except (ValueError, TypeError, OSError, RuntimeError, AssertionError) as error:
        frames = traceback.walk_tb(error.__traceback__)
        modules = [frame.f_globals.get("__name__", "") for frame, _ in frames]
        if isinstance(error, RuntimeError | AssertionError):
            if not modules[-1].startswith("jax._src.xla_bridge"):
                raise
            variable = f"JAX_PLATFORMS={os.environ.get('JAX_PLATFORMS', '')}"
            remedy = "unset it, or install jax for that device (see python -m ae_jax.doctor)"
            print(f"error: {variable}: jax has no such device here: {remedy}", file=sys.stderr)
            sys.exit(2)
        # jax removes its own frames from a traceback, but not those of the step that it traces.
        roots = {module.split(".")[0] for module in modules}
        if roots & {"jax", "flax", "optax"} or "ae_jax.training.step" in modules:
            raise
        print(f"error: {as_flags(str(error))}", file=sys.stderr)
        sys.exit(2)


def _resumed(argv: Sequence[str]) -> str | None:
    """The run that --resume names. Its model decides which other options exist."""
    for i, argument in enumerate(argv):
        name, equals, value = argument.partition("=")
        if name == "--resume":
            run = value if equals else "".join(argv[i + 1 : i + 2])
            if not run or run.startswith("--"):
                raise ValueError("--resume needs a run directory")
            return run
    return None


def _flatten(box: str) -> str:
    """Return tyro's framed error as one line: its message, and its first suggestion if any."""
    lines = [line.strip("│ ").strip() for line in box.splitlines() if not re.match("[╭╰]", line)]
    blocks: list[list[str]] = [[]]
    for line in lines:
        if len(line) > 3 and set(line) <= {"─", "-"}:
            blocks.append([])
        elif line:
            blocks[-1].append(line)
    if "╭" not in box:  # without a frame, the first block is its title
        del blocks[0]
    message = re.sub(r"^Error parsing (?!--)\S+: ", "", " ".join(blocks[0]))
    for block in blocks[1:]:
        if block and block[0].startswith("Perhaps you meant"):
            return f"{message}: did you mean {block[1]}?"
        if block and block[0].startswith("Argument helptext"):
            return f"{message}: use {block[1]}"
    return f"{message}: see --help" if message.startswith("Unrecognized") else message


def _shallow(config: Config) -> dict[str, Any]:
    return {f.name: getattr(config, f.name) for f in fields(Config)}


def _refuse_changes(old: Config, new: Config, run: str) -> None:
    timed = old.train.schedule != "constant" or old.train.warmup > 0
    allowed = _RESUMABLE - ({"train.epochs"} if timed else set())
    for difference in differences(to_dict(old), to_dict(new)):
        if difference.split(" is ")[0] not in allowed:
            raise ValueError(
                f"--resume {run}: {difference}; a resumed run keeps its settings (to change them "
                "start a new run, or continue anyway with --allow-changes)"
            )


@contextlib.contextmanager
def run_folder(given: str | None, name: str) -> Iterator[Path]:
    """The directory of a new run: `given`, or one under runs/ that no other command has.

    It is made at once, before any work, and deleted at the end if it is still empty.
    """
    with contextlib.ExitStack() as stack:
        path = user_path(given or f"runs/{name}-{time.strftime('%Y%m%d-%H%M%S')}")
        first = path.name
        for unused in itertools.chain([first], (f"{first}-{i}" for i in itertools.count(2))):
            path = path.with_name(unused)
            with contextlib.suppress(FileExistsError):
                stack.enter_context(made(path, alone=given is None))
                break
        yield path


def use_cpu_devices(count: int) -> None:
    """Simulate `count` devices on a CPU. Call it before jax initializes its backends."""
    if count > 1:
        try:
            jax.config.update("jax_num_cpu_devices", count)
        except RuntimeError:  # jax is initialized: keep the present devices
            return


def use_deterministic_operations() -> None:
    """Make results on a GPU reproducible bit for bit. Call it before jax initializes its backends.

    By default XLA sums in an order that varies from run to run, because that is faster.
    """
    flags = [os.environ.get("XLA_FLAGS", ""), "--xla_gpu_deterministic_ops=true"]
    os.environ["XLA_FLAGS"] = " ".join(flags).strip()


def run_main(main: Callable[[Sequence[str]], None]) -> None:
    """Run a script's `main` with the arguments of the command line.

    If one of several processes fails, it exits at once without cleaning up: the others wait for its
    results, and stop when they notice that it has died.
    """
    survive_lost_readers()
    use_compilation_cache()
    handler = logging.StreamHandler()
    handler.setFormatter(FlagsFormatter("%(message)s"))
    logging.getLogger("ae_jax").addHandler(handler)
    try:
        with one_line_errors():
            main(sys.argv[1:])
    except BaseException as error:
        code = error.code if isinstance(error, SystemExit) else 1
        together = code in (None, 0, 128 + signal.SIGINT, 128 + signal.SIGTERM)
        if together or not Processes.joined():
            raise
        if not isinstance(error, SystemExit):
            traceback.print_exc()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 1)
