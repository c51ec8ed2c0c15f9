"""A configuration file of one's own: ``python -m experiments.train path/to/my_config.py``.

It is a Python file, run because the command line names it, that defines

    CONFIG = Config(model=..., data=Data(...), train=Train(...))
    MODELS = (MySpec,)   # its own specifications; that of CONFIG need not be repeated

A run directory never names such a file: whoever opens a run gives the file again.
"""

import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ae_jax.models import Model, with_models
from experiments.config import Config


class UserFile(NamedTuple):
    name: str
    config: Config
    models: Any
    """`ae_jax.models.Model`, widened by the file's own specifications."""


def is_file_name(argument: str) -> bool:
    """Whether an argument names a configuration file, and not a configuration or a run."""
    return argument.endswith(".py")


def load_user_file(path: str) -> UserFile:
    """Run a configuration file.

    Raises `ValueError`, one line, if it does not exist, fails, or has no CONFIG.
    """
    file = Path(path)
    if not file.is_file():
        raise ValueError(f"{path} does not exist: give a configuration file, or a name without .py")
    name = f"user_file_{file.stem}"
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None and spec.loader is not None  # as for every file that ends in .py
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where dataclasses look for their annotations
    sys.path.insert(0, str(file.parent.resolve()))  # it may import files beside it, as scripts do
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise ValueError(f"{path} fails: {type(error).__name__}: {error}") from error
    config = getattr(module, "CONFIG", None)
    if not isinstance(config, Config):
        raise ValueError(f"{path} has no CONFIG: define CONFIG = Config(model=..., data=Data(...))")
    specs = dict.fromkeys(getattr(module, "MODELS", ()))
    if not isinstance(config.model, Model):
        specs[type(config.model)] = None
    return UserFile(file.stem, config, with_models(*specs))


def split_models(argv: Sequence[str]) -> tuple[Any, list[str]]:
    """The models of a configuration file that comes first (else `Model`), and the rest."""
    if argv and is_file_name(argv[0]):
        return load_user_file(argv[0]).models, list(argv[1:])
    return Model, list(argv)
