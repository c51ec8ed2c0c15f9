"""Image sets that TensorFlow Datasets prepared as array_record, read without TensorFlow."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from ae_jax.data import cache
from ae_jax.data.records import Records
from ae_jax.data.splits import require_split
from ae_jax.files import read_json

Decode = Literal["once", "always"]
CHUNK = 4096  # examples decoded at a time
VERSION = re.compile(r"\d+\.\d+\.\d+")


def find(root: Path, name: str) -> Path | None:
    """The folder of the newest version of a prepared set under `root`, or None.

    This looks only at files, because TFDS itself may wait for a closed network for minutes.

    Raises:
      ValueError: the set has several configurations and `name` does not select one.
    """
    folder = root / name
    if versions := _versions(folder):
        return max(versions, key=lambda path: tuple(map(int, path.name.split("."))))
    configurations = sorted(f"{name}/{path.name}" for path in folder.glob("*") if _versions(path))
    if configurations:
        raise ValueError(f"{name} comes in configurations: choose from {', '.join(configurations)}")
    return None


def _versions(folder: Path) -> list[Path]:
    return [
        path
        for path in folder.glob("*")
        if VERSION.fullmatch(path.name) and (path / "dataset_info.json").is_file()
    ]


class Info(NamedTuple):
    """The parts of dataset_info.json that are used here."""

    name: str
    version: str
    file_format: str
    splits: dict[str, list[int]]  # split -> examples in each of its files


def read_info(folder: Path) -> Info:
    """Read dataset_info.json; raises `ValueError` if it is damaged."""
    path = folder / "dataset_info.json"
    try:
        info = read_json(path, links=True)
        splits = {s["name"]: [int(n) for n in s["shardLengths"]] for s in info["splits"]}
        # TFDS omits the format if it is the default.
        file_format = info.get("fileFormat", "tfrecord")
        name, version = info["name"], info["version"]
        if not (re.fullmatch(r"\w+", name) and VERSION.fullmatch(version)):
            raise ValueError(f"{name!r} {version!r} is not a name and a version")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is damaged: {error!r}") from error
    return Info(name, version, file_format, splits)


def load_prepared(
    folder: Path, split: str, *, decode: Decode = "once"
) -> dict[str, np.ndarray | Records]:
    """Load a split of a prepared set from its version folder, or its decoded copy in the cache.

    Returns:
      {"x": [N, H, W, C], "label": int32 [N]} of read-only arrays on disk (see `cache`). "x" is
      uint8, or float32 of images with 16 bits (in [0, 1]) or floats; sets without labels have no
      "label". With decode="always" the result is {"x": `Records`}.

    Raises:
      ValueError: an unknown split, not array_record, not a set of equal images, a damaged file, or
        decode="always" of images that are not uint8.
      FileNotFoundError: a file of the set is missing.
    """
    info = read_info(folder)
    require_split(split, info.splits, folder)
    if info.file_format != "array_record":
        raise ValueError(
            f"{folder} is stored as {info.file_format}, which only TensorFlow reads: "
            "prepare the set again as array_record in another folder"
        )
    lengths = info.splits[split]
    shards = sorted(folder.glob(f"{info.name}-{split}.array_record-*-of-*"))
    if len(shards) != len(lengths):
        raise FileNotFoundError(
            f"{folder} holds {len(shards)} of the {len(lengths)} files of split {split!r}: "
            "delete the folder and prepare the set again"
        )
    if decode == "always":
        records = Records(folder, split)
        if records.dtype != np.uint8:
            raise ValueError(
                f"{folder} has images of more than 8 bits, and only uint8 is decoded while "
                "training: use decode='once'"
            )
        return {"x": records}
    entry = f"{info.name}-{info.version}-{split}-{_fingerprint(folder, shards)}"
    return {**(cache.fetch(entry) or _decode_to_cache(entry, Records(folder, split)))}


def _decode_to_cache(entry: str, records: Records) -> dict[str, np.ndarray]:
    def chunks() -> Iterator[dict[str, np.ndarray]]:
        for start in range(0, len(records), CHUNK):
            yield records.read(np.arange(start, min(start + CHUNK, len(records))))

    return cache.store(entry, len(records), chunks)


def _fingerprint(folder: Path, shards: list[Path]) -> str:
    """A digest that changes when the set is prepared again or one of its files changes."""
    identity = hashlib.sha256()
    for name in ("dataset_info.json", "features.json"):
        identity.update((folder / name).read_bytes())
    for shard in shards:
        status = shard.stat()
        identity.update(f"{shard.name} {status.st_size} {status.st_mtime_ns}\n".encode())
    return identity.hexdigest()[:16]
