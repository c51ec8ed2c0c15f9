"""A configuration file of your own: ``python -m experiments.train path/to/my_config.py``.

The command runs it as a Python file, which defines

    CONFIG = Config(model=..., data=Data(...), train=Train(...))
    MODELS = (MySpec,)   # further specifications of your own; that of CONFIG is included

A run directory never names such a file, so that opening a run cannot run code. Give the file again
to open the run.
"""

import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ae_jax.models import Model, with_models
from experiments.config import Config


class UserFile(NamedTuple):
    """The content of a configuration file."""

    name: str
    """The file's name without ``.py``."""
    config: Config
    models: Any
    """The union of `ae_jax.models.Model` and the file's own specifications."""


def is_file_name(argument: str) -> bool:
    """Return whether an argument is a configuration file, not the name of a configuration."""
    return argument.endswith(".py")


def load_user_file(path: str) -> UserFile:
    """Run a configuration file and return its content.

    Raises `ValueError` if the file does not exist, fails, or defines no CONFIG.
    """
    file = Path(path)
    if not file.is_file():
        raise ValueError(f"{path} does not exist: give a configuration file, or a name without .py")
    name = f"user_file_{file.stem}"
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None and spec.loader is not None  # as for every file that ends in .py
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look up their annotations here
    sys.path.insert(0, str(file.parent.resolve()))  # like a script, it may import its neighbors
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
    """Return the models of a configuration file in ``argv[0]`` (else `Model`), and the rest."""
    if argv and is_file_name(argv[0]):
        return load_user_file(argv[0]).models, list(argv[1:])
    return Model, list(argv)
