"""``--PART.kind NAME`` on the command line: choose the kind of a part."""

from collections.abc import Sequence
from typing import Any

from ae_jax.spec import from_dict, to_dict
from experiments.config import Config, widened


def with_kinds(argv: list[str], base: Config, models: Any) -> tuple[list[str], Config]:
    """The arguments without each ``--PART.kind NAME``, and the configuration with these parts.

    The options of a part depend on its kind, which is therefore chosen before they are parsed.
    """
    rest: list[str] = []
    data, arguments = to_dict(base), iter(argv)

    def config() -> Config:
        try:
            return from_dict(widened(Config, models), data, where="config")
        except ValueError as error:
            if ".kind=" in str(error):  # a name that is not known
                raise
            needs = "set kinds that need other options too in a configuration file"
            raise ValueError(f"{error}; {needs}") from None

    for argument in arguments:
        name, equals, value = argument.partition("=")
        path = name.removeprefix("--").replace("-", "_").split(".")
        if not name.startswith("--") or len(path) < 2 or path[-1] != "kind":
            rest.append(argument)
            continue
        if _owner(data, path) is None:  # maybe it is a part of one that was just chosen
            data = to_dict(config())
        owner = _owner(data, path)
        if owner is None:
            rest.append(argument)
        else:
            owner[path[-2]] = {"kind": value if equals else next(arguments, "")}
    return rest, config() if len(rest) < len(argv) else base


def _owner(data: Any, path: Sequence[str]) -> Any:
    """The part of `data` that has the part whose kind `path` names, or None."""
    for name in path[:-2]:
        data = data.get(name) if isinstance(data, dict) else None
    return data if isinstance(data, dict) and isinstance(data.get(path[-2]), dict) else None
