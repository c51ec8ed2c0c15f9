"""The command line: CONFIG and its overrides, and errors as one line with exit code 2."""

import contextlib
import io
import logging
import os
import re
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeVar

import jax
import tyro

from ae_jax.devices.compilation import use_compilation_cache
from ae_jax.models import Model
from ae_jax.spec import from_dict, kinds_of, nearest, require, to_dict
from ae_jax.storage.runs import Run, differences
from ae_jax.training import DivergedError
from experiments.config import Config, widened
from experiments.processes import Processes
from experiments.user_file import is_file_name, load_user_file

MOST_DEVICES = 1024  # of one process; a CPU would try to simulate any number
_RESUMABLE = {"train.epochs", "train.log_every", "train.checkpoint_every", "train.stream"}
_RESUMABLE |= {"train.max_skips", "data.dir", "data.decode"}

_FLAGS = {  # of the arguments that the library names in its messages
    **{
        name: f"--train.{name.replace('_', '-')}"
        for name in (
            "accumulate",
            "batch_size",
            "checkpoint_every",
            "ema_decay",
            "epochs",
            "learning_rate",
            "log_every",
            "max_skips",
            "stream",
        )
    },
    "allow_changes": "--allow-changes",
    "data_dir": "--data-dir",
    "data_name": "--data-name",
    "decode": "--data.decode",
    "devices": "--devices",
    "keep_labels": "--data.keep-labels",
    "resume": "--resume RUN",
    "run_dir": "--run-dir",
    "seed": "--seed",
}

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Command(Processes, Config):
    """A `Config`, and what is said about this one run of it."""

    run_dir: str | None = None
    """The run directory; by default a new one under runs/."""
    resume: str | None = None
    """Continue this run directory with its own configuration (instead of CONFIG)."""
    devices: int = 1
    """How many devices to split each batch over (0: all); on a CPU, so many simulated ones."""
    allow_changes: bool = False
    """With --resume: continue although settings or data have changed since the run began."""
    deterministic: bool = False
    """On a GPU, only operations that give the same bits every time (on a CPU all do)."""
    dry_run: bool = False
    """Write nothing: only show parameters, memory, FLOPs and time."""
    track: tuple[str, ...] = ()
    """Log to these too, beside metrics.jsonl: tensorboard, wandb, mlflow, trackio."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check()
        ok = 0 <= self.devices <= MOST_DEVICES
        require(ok, "devices", self.devices, f"must be in 0 .. {MOST_DEVICES}")


def parse(
    argv: Sequence[str],
    configs: Mapping[str, Config],
    *,
    default: str,
    prog: str,
    about: str,
    options: type[Command] = Command,
) -> tuple[str, Config, Any]:
    """``[CONFIG] [--field value ...]`` -> the name, the configuration, and the whole command.

    CONFIG is a name in `configs`, or a file of one's own (see `experiments.user_file`). `options`
    is `Command`, or a subclass with more options.

    Raises `ValueError`, one line, for anything that is not right; exits for ``--help``.
    """
    argv, models = list(argv), Model
    name = argv.pop(0) if argv and not argv[0].startswith("-") else None
    own = load_user_file(name) if name is not None and is_file_name(name) else None
    if own is not None:
        models = own.models
    resume = _resumed(argv)
    if resume is not None:
        if name is not None and own is None:
            raise ValueError(f"--resume {resume} has its own configuration: remove {name!r}")
        base = stored_config(resume, models)
        name = os.path.basename(os.path.abspath(resume))
    elif own is not None:
        name, base = own.name, own.config
    else:
        name = name or default
        if name not in configs:
            raise ValueError(f"no configuration {name!r}: {nearest(name, configs)}")
        base = configs[name]
    about = f"{about}\n\nCONFIG (default: {default}): {', '.join(sorted(configs))}, or a file.py"
    cls = widened(options, models)
    command = parse_options(
        argv,
        cls,
        prog=f"{prog} [CONFIG]",
        about=about,
        default=cls(**_shallow(base), resume=resume),
    )
    config = Config(**{f.name: getattr(command, f.name) for f in fields(Config)})
    if command.allow_changes and resume is None:
        raise ValueError("--allow-changes: is for a run that is resumed: give --resume RUN too")
    if resume is not None:
        if not command.allow_changes:
            _refuse_changes(base, config, resume)
        if command.run_dir is not None:
            raise ValueError(f"--run-dir {command.run_dir}: --resume writes to {resume} itself")
    return name, config, command


def stored_config(path: str, models: Any = Model) -> Config:
    """The `Config` in a run directory, of one of `models`."""
    data = Run.open(path).config
    if "data" not in data:
        raise ValueError(f"{path} was not made by this command: continue it with fit(resume=True)")
    if "objective_weights" in data:
        raise ValueError(f"{path} is a run of a sweep over weights of its loss: it cannot continue")
    for name in ("event_shape", "dtype", "fit"):  # parts of the configuration say the same
        data.pop(name, None)
    kind = data["model"].get("kind") if isinstance(data.get("model"), dict) else None
    if isinstance(kind, str) and kind not in kinds_of(models):
        raise ValueError(
            f"{path}/config.json: model={kind!r}: {nearest(kind, kinds_of(models))}; for a model "
            "of your own name its configuration file first: my_config.py"
        )
    return from_dict(widened(Config, models), data, where=f"{path}/config.json")


def parse_options(
    argv: Sequence[str], options: type[T], *, prog: str, about: str | None, default: T | None = None
) -> T:
    """The options of a script, a dataclass, from its command line.

    Raises `ValueError`, one line, for anything that is not right; exits for ``--help``.
    """
    errors = io.StringIO()
    given: dict[str, Any] = {} if default is None else {"default": default}
    try:
        with contextlib.redirect_stderr(errors):
            return tyro.cli(
                options,
                args=argv,
                prog=prog,
                description=about,
                config=(tyro.conf.AvoidSubcommands,),
                **given,
            )
    except SystemExit as stop:
        if not stop.code:
            raise
    raise ValueError(_flatten(errors.getvalue()))


def as_flags(message: str) -> str:
    """A message of the library, which names Python arguments, in the words of the command line."""

    def flag(match: re.Match[str]) -> str:
        name, value = match.groups()
        value = value.strip("\"'")
        return _FLAGS[name] + (f" {value}" if value and value != "True" else "")

    return re.sub(rf"(?<![\w.-])({'|'.join(_FLAGS)})=((?:[\w.\"'-]*\w[\"']?)?)", flag, message)


class _Flags(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return as_flags(super().format(record))


@contextlib.contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn bad input (a `ValueError`, `TypeError` or `OSError` of ours) into one line, exit 2.

    A training that diverged is one line and exit 1, Ctrl-C exit 130. An error that came up while
    jax was tracing a model is a bug, and keeps its traceback.
    """
    try:
        yield
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
    except DivergedError as error:
        print(f"error: {as_flags(str(error))}", file=sys.stderr)
        sys.exit(1)
    except (ValueError, TypeError, OSError) as error:
        frames = traceback.walk_tb(error.__traceback__)
        modules = {frame.f_globals.get("__name__", "") for frame, _ in frames}
        # jax takes its own frames out of a traceback, but not those of the step that it traces.
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
    """tyro's framed error as one line: its message, and its first suggestion if it has one."""
    lines = [line.strip("│ ").strip() for line in box.splitlines() if not re.match("[╭╰]", line)]
    blocks: list[list[str]] = [[]]
    for line in lines:
        if len(line) > 3 and set(line) <= {"─", "-"}:
            blocks.append([])
        elif line:
            blocks[-1].append(line)
    if "╭" not in box:  # where the frame cannot be drawn its title is a block of its own
        del blocks[0]
    message = re.sub(r"^Error parsing (?!--)\S+: ", "", " ".join(blocks[0]))
    for block in blocks[1:]:
        if block and block[0].startswith("Perhaps you meant"):
            return f"{message}: did you mean {block[1]}?"
        if block and block[0].startswith("Argument helptext"):
            return f"{message}: give {block[1]}"
    return f"{message}: see --help" if message.startswith("Unrecognized") else message


def _shallow(config: Config) -> dict[str, Any]:
    return {f.name: getattr(config, f.name) for f in fields(Config)}


def _refuse_changes(old: Config, new: Config, run: str) -> None:
    timed = old.train.schedule != "constant" or old.train.warmup > 0
    free = _RESUMABLE - ({"train.epochs"} if timed else set())
    for difference in differences(to_dict(old), to_dict(new)):
        if difference.split(" is ")[0] not in free:
            raise ValueError(
                f"--resume {run}: {difference}; a resumed run keeps its settings (start a new run "
                "to change them, or continue all the same with --allow-changes)"
            )


def use_cpu_devices(count: int) -> None:
    """Let a CPU show this many devices, which must come before jax looks at it."""
    if count > 1:
        try:
            jax.config.update("jax_num_cpu_devices", count)
        except RuntimeError:  # it has looked already: what there is must do
            return


def use_deterministic_operations() -> None:
    """Let XLA choose only such on a GPU, which must come before jax looks at it.

    Sums in an order that varies from run to run are faster there, and are what it uses otherwise.
    """
    flags = [os.environ.get("XLA_FLAGS", ""), "--xla_gpu_deterministic_ops=true"]
    os.environ["XLA_FLAGS"] = " ".join(flags).strip()


def run_main(main: Callable[[Sequence[str]], None]) -> None:
    """Run a script's `main` on the command line's arguments.

    One of several processes that fails ends at once: the others wait for what it would have
    computed, and notice that it is gone.
    """
    use_compilation_cache()
    handler = logging.StreamHandler()
    handler.setFormatter(_Flags("%(message)s"))
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
