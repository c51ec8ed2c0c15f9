"""Fingerprints of data sets, by which a run notices that its data has changed."""

from __future__ import annotations

import logging
import re
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from ae_jax.data.generated import Column
from ae_jax.data.records import Records
from ae_jax.data.scan import blocks
from ae_jax.data.shards import Shards
from ae_jax.files import CHUNK

log = logging.getLogger(__name__)
Fingerprint = Mapping[str, str]
"""Column -> dtype, shape and a checksum of all its values: "float32[240, 6] 8f3a01c7"."""
_PARTS = re.compile(
    r"(?P<dtype>\w+)\[(?P<rows>\d+)(?P<event>[\d, ]*)\] (?P<sum>((files|rule) )?\w+)"
)


def fingerprint(data: Mapping[str, np.ndarray | Records | Shards | Column]) -> dict[str, str]:
    """The fingerprint of columns [N, ...], each read completely.

    The checksum is a CRC-32 of the values. `Records` are not decoded: it is that of their files.
    `Generated` data is not computed: it is that of its identity. `Shards` have the checksum of one
    array with their rows.
    """
    return {
        name: f"{column.dtype}{list(column.shape)} {_checksum(column)}"
        for name, column in data.items()
    }


def changes(old: Mapping[str, Fingerprint], new: Mapping[str, Fingerprint]) -> list[str]:
    """How the data sets in `new` differ from those of the same names ("train", "test") in `old`.

    Each is a phrase, such as "train has 243 rows instead of 240". Between `Records` and the same
    set decoded, only the shape of the examples can be compared.
    """
    return [
        f"{name} {change}"
        for name in old
        if name in new
        for change in _set_changes(old[name], new[name])
    ]


def require_unchanged(
    run: object,
    config: Mapping[str, Any],
    new: Mapping[str, Fingerprint],
    *,
    allow_changes: bool,
    name: str | None = None,
) -> None:
    """Compare data with the ``"fingerprint"`` in the configuration of a run.

    Args:
      run: the run in messages.
      config: its configuration.
      new: data set ("train", "test") -> fingerprint.
      allow_changes: log a change as a warning.
      name: the name of the data; by default that in `config`.

    Raises:
      ValueError: the data differs, unless `allow_changes` is True.
    """
    old, described = config.get("fingerprint"), config.get("data")
    sets = {k: v for k, v in old.items() if isinstance(v, dict)} if isinstance(old, dict) else {}
    if not (changed := changes(sets, new)):
        return
    name = name or (described.get("name") if isinstance(described, dict) else None)
    message = f"{run}: {name or 'the data'} is not the data of the training: {'; '.join(changed)}"
    if not allow_changes:
        raise ValueError(f"{message}; to use it anyway add allow_changes=True")
    log.warning("%s", message)


def _checksum(column: np.ndarray | Records | Shards | Column) -> str:
    if isinstance(column, Shards):
        return f"{column.scan.checksum:08x}"
    value = 0
    if isinstance(column, Column):
        return f"rule {column.data.checksum()}"
    if isinstance(column, Records):
        for path in column.files:
            with path.open("rb") as file:
                while block := file.read(CHUNK):
                    value = zlib.crc32(block, value)
        return f"files {value:08x}"
    for _, block in blocks(column):
        value = zlib.crc32(np.ascontiguousarray(block).data, value)
    return f"{value:08x}"


def _set_changes(old: Fingerprint, new: Fingerprint) -> list[str]:
    if len({"files" in str(each.get("x")) for each in (old, new)}) > 1:
        old, new = ({"x": re.sub(r"\].*", "] 0", str(each.get("x")))} for each in (old, new))
    changed = []
    for column in sorted(old.keys() | new.keys(), key=lambda name: (name != "x", name)):
        parts = [_PARTS.fullmatch(str(each.get(column))) for each in (old, new)]
        if column not in new:
            changed.append(f"lacks {column!r}")
        elif column not in old:
            changed.append(f"has {column!r} in addition")
        elif parts[0] is None or parts[1] is None:
            changed.append(f"has a fingerprint of {column!r} that cannot be read")
        elif parts[0]["rows"] != parts[1]["rows"]:
            return [f"has {parts[1]['rows']} rows instead of {parts[0]['rows']}"]
        elif old[column] != new[column]:
            before, after = (f"{p['dtype']}[N{p['event']}]" for p in parts if p)
            what = f"is {after} instead of {before}" if before != after else "has other values"
            changed.append(f"{column!r} {what}")
    return changed
