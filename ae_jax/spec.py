"""Specifications as plain data: frozen dataclasses to and from JSON, strictly checked.

A specification says *what* to build (a network, a model, an experiment). It contains numbers,
strings, booleans, tuples and other specifications. If a field may be one of several dataclasses,
the key ``"kind"`` selects one of those in the field's type. A file cannot name any other class, so
reading it never imports or runs code.
"""

import dataclasses
import difflib
import math
import types
import typing
from collections.abc import Iterable
from typing import Any, ClassVar, Literal, Union


class Spec:
    """Base class of specifications, which are frozen dataclasses; `kind` names one in files.

    Creating one raises `ValueError` if a field of type `typing.Literal` has another value, if a
    float is not finite, or if a field of specifications holds anything else.
    """

    kind: ClassVar[str] = ""

    def __post_init__(self) -> None:
        for name, hint in typing.get_type_hints(type(self)).items():
            if typing.get_origin(hint) is Literal:
                _convert(hint, getattr(self, name), name)
            elif hint is float and isinstance(value := getattr(self, name), float):
                require(math.isfinite(value), name, value, "must be finite")
            else:
                _check_parts(hint, getattr(self, name), name)


def to_dict(spec: Any) -> Any:
    """A specification as JSON-ready data; `from_dict` is its inverse."""
    if dataclasses.is_dataclass(spec) and not isinstance(spec, type):
        kind = {"kind": spec.kind} if isinstance(spec, Spec) and spec.kind else {}
        fields = {f.name: to_dict(getattr(spec, f.name)) for f in dataclasses.fields(spec)}
        return kind | fields
    if isinstance(spec, tuple | list):
        return [to_dict(item) for item in spec]
    return spec


def from_dict(cls: Any, data: Any, *, where: str = "config") -> Any:
    """Convert `data` (from JSON) to `cls`, a dataclass or a union of dataclasses.

    Missing fields get their defaults. Raises `ValueError` for an unknown field or kind, a wrong
    type, or a value that `cls` refuses: one line with the field, its value and what is allowed.
    """
    return _convert(cls, data, where)


def kinds_of(union: Any) -> dict[str, Any]:
    """The dataclasses of a union (or the only one) by their kinds."""
    members = typing.get_args(union) or (union,)
    return {member.kind: member for member in members if getattr(member, "kind", "")}


def nearest(name: object, known: Iterable[str]) -> str:
    """The end of an error message: a suggestion if a known name is similar, else all names."""
    known = list(known)
    near = difflib.get_close_matches(str(name), known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"known: {', '.join(sorted(known))}"


def require(ok: bool, field: str, value: Any, needs: str) -> None:
    """Raise `ValueError` "field=value: needs" unless `ok`. For ``__post_init__`` checks."""
    if not ok:
        raise ValueError(f"{field}={value!r}: {needs}")


def _check_parts(hint: Any, value: Any, name: str) -> None:
    """Raises `ValueError` unless `value` is one of the dataclasses that `hint` names, or a tuple of
    them. Specifications from outside `ae_jax` pass, and any value does for other hints."""
    args = typing.get_args(hint)
    several = typing.get_origin(hint) is tuple
    options = typing.get_args(args[0]) or args[:1] if several else args or (hint,)
    if not any(map(dataclasses.is_dataclass, options)):
        return
    known = " or ".join(f"{option.__name__}(...)" for option in options if option is not type(None))
    needs = f"must be a tuple of {known}" if several else f"must be {known}"
    ok = isinstance(value, tuple) or not several
    items = value if several and ok else (value,)
    require(ok and all(isinstance(i, options) or _is_own(i) for i in items), name, value, needs)


def _is_own(value: Any) -> bool:
    """Whether this is a specification of somebody's own, which no union here can name."""
    return isinstance(value, Spec) and not type(value).__module__.startswith("ae_jax.")


def _convert(annotation: Any, data: Any, where: str) -> Any:
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _convert(args[0], data, where)
    if origin in (Union, types.UnionType):
        return _union(args, data, where)
    if origin is Literal:
        if data not in args:
            raise ValueError(f"{where}={data!r}: {nearest(data, map(str, args))}")
        return data
    if origin is tuple:
        if not isinstance(data, list | tuple):
            raise ValueError(f"{where}={data!r}: must be a list")
        return tuple(_convert(args[0], item, f"{where}[{i}]") for i, item in enumerate(data))
    if dataclasses.is_dataclass(annotation):
        return _dataclass(annotation, data, where)
    if annotation is float and type(data) is int:
        data = float(data)
    if type(data) is not annotation or (annotation is float and not math.isfinite(data)):
        expected = "null" if annotation is type(None) else annotation.__name__
        raise ValueError(f"{where}={data!r}: must be of type {expected}")
    return data


def _union(options: tuple[Any, ...], data: Any, where: str) -> Any:
    if data is None and type(None) in options:
        return None
    options = tuple(option for option in options if option is not type(None))
    if len(options) == 1:
        return _convert(options[0], data, where)
    kinds = {option.kind: option for option in options}
    kind = data.get("kind") if isinstance(data, dict) else None
    if not isinstance(kind, str) or kind not in kinds:
        raise ValueError(f"{where}.kind={kind!r}: {nearest(kind, kinds)}")
    return _dataclass(kinds[kind], data, where)


def _dataclass(cls: Any, data: Any, where: str) -> Any:
    if not isinstance(data, dict):
        raise ValueError(f"{where}={data!r}: must be an object with the fields of {cls.__name__}")
    hints = typing.get_type_hints(cls, include_extras=True)
    names = [field.name for field in dataclasses.fields(cls)]
    values = {name: value for name, value in data.items() if name != "kind"}
    if "kind" in data and data["kind"] != getattr(cls, "kind", None):
        raise ValueError(f"{where}.kind={data['kind']!r}: must be {getattr(cls, 'kind', None)!r}")
    for name in values:
        if name not in names:
            raise ValueError(f"{where} has no field {name!r}: {nearest(name, names)}")
    converted = {
        name: _convert(hints[name], value, f"{where}.{name}") for name, value in values.items()
    }
    try:
        return cls(**converted)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{where}: {error}") from None
