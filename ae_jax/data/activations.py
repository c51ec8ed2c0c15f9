"""Write what a function of a batch gives, for all examples of a data set, as a folder of shards.

layer = layer_of(classifier, variables, "inner/encoder/Conv_1", positions=True)
write_activations(layer, load("mnist", "train"), "acts/train")
write_activations(layer, load("mnist", "test"), "acts/test")
fit(dictionary, load("./acts", "train"), ...)
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from safetensors.numpy import save

from ae_jax.core import Batch
from ae_jax.data.fingerprint import fingerprint
from ae_jax.data.outputs import Rows
from ae_jax.data.shard_files import (
    FORMAT,
    MANIFEST,
    digest,
    open_shard,
    read_manifest,
    shard_files,
)
from ae_jax.data.validate import validated
from ae_jax.files import writable_folder, write_whole
from ae_jax.spec import require

Stored = Literal["float32", "float16", "bfloat16"]


def write_activations(
    fn: Callable[[Batch], Any],
    data: ArrayLike | Mapping[str, Any],
    folder: str | Path,
    *,
    batch_size: int = 256,
    rows_per_shard: int = 2**16,
    dtype: Stored = "float32",
) -> Path:
    """Write the rows that `fn` gives for all examples of `data`, and return the folder.

    The rows are in the order of the examples, in files ``shard-00000.safetensors`` and so on, with
    a manifest ``shards.json``. A file is written aside and renamed. It depends on the arguments and
    on its number alone: a writer that was killed writes the files that are missing or damaged. If
    all files are there, only the manifest is written, as it was.

    Args:
      fn: maps a batch of columns, ``"x"`` as floats and the others that `data` has, to an array or
        to a mapping of arrays with ``"x"``. It is compiled once, with all batches of one size. A
        row may depend on its own example only. ``"x"`` of an example is a row [d] (or maps
        [H, W, C]), or rows [P, d] of several positions. Then there are further columns ``"row"``
        (the example) and ``"position"``. Others are [B, P, ...], or [B] and repeated. ``"mask"``,
        [B] or [B, P], is 0 for rows that are not written.
      data: an array or columns, as `ae_jax.data.load` returns them. Examples whose ``"mask"`` is 0
        are not written.
      folder: a new or empty folder, or one that the same call began.
      batch_size: examples in a call of `fn`.
      rows_per_shard: at most, and not below P. A shard is of whole batches, so it may have fewer.
      dtype: how floats are stored. They are read as float32.

    Raises:
      ValueError: one line, for a value that is not finite or does not fit `dtype` (with its
        example), an output of another shape, bad settings or data, or a folder that holds something
        else: other shards, or rows of other data, settings or another `fn`.
      OSError: a file cannot be written. Those before it are intact.
    """
    for name, value in {"batch_size": batch_size, "rows_per_shard": rows_per_shard}.items():
        ok = isinstance(value, int | np.integer) and value >= 1
        require(ok, name, value, "must be an integer >= 1")
    require(dtype in get_args(Stored), "dtype", dtype, f"choose from {', '.join(get_args(Stored))}")
    examples = validated(data, records=True)
    count = len(examples["x"])
    source = Rows(fn, examples, rows_per_shard, min(batch_size, count), jnp.dtype(dtype))
    settings = {
        "examples": count,
        "batch_size": source.batch_size,
        "rows_per_shard": int(rows_per_shard),
        "dtype": dtype,
        "data": fingerprint(examples),
    }
    target = writable_folder(folder)
    names = [f"shard-{i:05d}.safetensors" for i in range(-(-count // source.per_shard))]
    manifest = {
        "format": FORMAT,
        "columns": source.columns,
        "count": len(names),
        "settings": settings,
    }
    shards = _begun(target, manifest, names, source)
    # Before the first shard, so that a writer that is killed there finds its folder again.
    _write_manifest(target, manifest, shards)
    for number, name in enumerate(names):
        if name not in shards:
            rows = source.shard(number)
            content = save(rows)
            write_whole(target / name, content)
            sha256 = hashlib.sha256(content).hexdigest()
            shards[name] = {"rows": len(rows["x"]), "bytes": len(content), "sha256": sha256}
            _write_manifest(target, manifest, shards)
    return target


def _write_manifest(folder: Path, manifest: Mapping[str, Any], shards: Mapping[str, Any]) -> None:
    whole = {**manifest, "shards": dict(sorted(shards.items()))}
    write_whole(folder / MANIFEST, json.dumps(whole, indent=1) + "\n")


def _begun(
    folder: Path, manifest: Mapping[str, Any], names: list[str], source: Rows
) -> dict[str, Any]:
    """The entries of the whole shards that a writer with the same arguments left in `folder`.

    Raises `ValueError` if the folder holds anything else.
    """
    if not (folder / MANIFEST).exists():
        if files := shard_files(folder):
            raise ValueError(
                f"{folder} holds {files[0].name} and no {MANIFEST}: choose another folder"
            )
        return {}
    old = read_manifest(folder)
    flat = [{**each, **each["settings"]} for each in (old, manifest)]
    for name in ("dtype", "columns", *manifest["settings"], *manifest):
        if flat[0].get(name) != flat[1][name]:
            raise ValueError(
                f"{folder} was written with {name}={flat[0].get(name)!r}, which now is "
                f"{flat[1][name]!r}: choose another folder"
            )
    for path in shard_files(folder):
        if path.name not in names:
            raise ValueError(
                f"{folder} holds {path.name}, which this call does not write: choose another folder"
            )
    entries: dict[str, Any] = old["shards"]
    shards = {
        name: entries[name]
        for name in names
        if name in entries and _is_whole(folder / name, entries[name])
    }
    if shards:  # the function cannot be compared, but its rows can
        name = next(iter(shards))
        rows, parts = source.first_rows(names.index(name)), open_shard(folder / name)
        for column in rows:
            part = parts.get(column)
            if part is None or not np.array_equal(part.array[: len(rows[column])], rows[column]):
                raise ValueError(
                    f"{folder / name} holds other values of {column} than this function gives: "
                    "choose another folder"
                )
    return shards


def _is_whole(path: Path, entry: Mapping[str, Any]) -> bool:
    """Whether a file has the size and the SHA-256 of its entry in the manifest."""
    if not path.is_file() or path.stat().st_size != entry["bytes"]:
        return False
    return digest(path) == entry["sha256"]
