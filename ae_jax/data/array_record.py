"""Image sets that TensorFlow Datasets prepared as array_record, read without TensorFlow."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ae_jax.data import cache
from ae_jax.data.splits import require_split

CHUNK = 4096  # examples decoded at a time: one call for many is 3 times faster than one for each
VERSION = re.compile(r"\d+\.\d+\.\d+")


def find(root: Path, name: str) -> Path | None:
    """The folder of the newest version of a prepared set under `root`, or None.

    Looks at files only: TFDS itself may wait minutes on a closed network before it says no.

    Raises:
      ValueError: the set has several configurations and `name` gives none.
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
    """What is read of a set's dataset_info.json."""

    name: str
    version: str
    file_format: str
    splits: dict[str, list[int]]  # split -> examples in each of its files


def read_info(folder: Path) -> Info:
    """Reads dataset_info.json; raises a ValueError where it is damaged."""
    path = folder / "dataset_info.json"
    try:
        info = json.loads(path.read_bytes())
        splits = {s["name"]: [int(n) for n in s["shardLengths"]] for s in info["splits"]}
        # TFDS leaves the format out where it is its own default.
        file_format = info.get("fileFormat", "tfrecord")
        name, version = info["name"], info["version"]
        if not (re.fullmatch(r"\w+", name) and VERSION.fullmatch(version)):
            raise ValueError(f"{name!r} {version!r} is not a name and a version")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is damaged: {error!r}") from error
    return Info(name, version, file_format, splits)


def load_prepared(folder: Path, split: str) -> dict[str, np.ndarray]:
    """Loads a split of a prepared set from its version folder, or its decoded copy in the cache.

    Returns:
      {"x": [N, H, W, C], uint8 unless the set holds float images, "label": int32 [N] if it has one}

    Raises:
      ValueError: an unknown split, not array_record, not a set of equal images, a damaged file.
      FileNotFoundError: a file of the set is missing.
    """
    info = read_info(folder)
    require_split(split, info.splits, folder)
    if info.file_format != "array_record":
        raise ValueError(
            f"{folder} is stored as {info.file_format}, which needs TensorFlow to read: "
            "prepare the set again, as array_record, in another folder"
        )
    lengths = info.splits[split]
    shards = sorted(folder.glob(f"{info.name}-{split}.array_record-*-of-*"))
    if len(shards) != len(lengths):
        raise FileNotFoundError(
            f"{folder} holds {len(shards)} of the {len(lengths)} files of split {split!r}: "
            "delete the folder and prepare the set again"
        )
    entry = f"{info.name}-{info.version}-{split}-{_fingerprint(folder, shards)}"
    data = cache.fetch(entry)
    if data is None:
        try:
            data = _decode(folder, split, sum(lengths))
        except (RuntimeError, IndexError, OSError) as error:
            reason = " ".join(str(error).split())
            raise ValueError(f"{shards[0]} or a file beside it is damaged: {reason}") from error
        cache.store(entry, data)
    return data


def _fingerprint(folder: Path, shards: list[Path]) -> str:
    """Changes when the set is prepared anew, or a file of it is touched."""
    identity = hashlib.sha256()
    for name in ("dataset_info.json", "features.json"):
        identity.update((folder / name).read_bytes())
    for shard in shards:
        status = shard.stat()
        identity.update(f"{shard.name} {status.st_size} {status.st_mtime_ns}\n".encode())
    return identity.hexdigest()[:16]


def _decode(folder: Path, split: str, n: int) -> dict[str, np.ndarray]:
    import tensorflow_datasets as tfds

    try:
        builder = tfds.builder_from_directory(folder)
    except Exception as error:  # of protobuf, JSON or a lookup, as the damage has it
        raise ValueError(
            f"{folder / 'features.json'} is damaged: {type(error).__name__}"
        ) from error
    image, label = _image_and_label(builder.info.features, folder)
    source = builder.as_data_source(split)
    x, labels = np.empty(0), np.empty(n, np.int32)
    with _without_opencv_advice():
        for start in range(0, n, CHUNK):
            examples = source.__getitems__(range(start, min(start + CHUNK, n)))
            for i, example in enumerate(examples, start):
                if i == 0:
                    x = np.empty((n, *example[image].shape), example[image].dtype)
                if example[image].shape != x.shape[1:]:
                    raise ValueError(
                        f"the images of {folder} differ in size, {x.shape[1:]} and "
                        f"{example[image].shape}: resize them to one size and save them as .npz"
                    )
                x[i] = example[image]
                if label is not None:
                    labels[i] = example[label]
    return {"x": x} if label is None else {"x": x, "label": labels}


def _image_and_label(features: Any, folder: Path) -> tuple[str, str | None]:
    """The keys of the image and the label: those called so, else the only ones of their kind."""
    from tensorflow_datasets.core import features as kinds

    def pick(kind: type, usual: str) -> str | None:
        keys = [key for key, feature in features.items() if type(feature) is kind]
        return usual if usual in keys else keys[0] if len(keys) == 1 else None

    image = pick(kinds.Image, "image")
    if image is None:
        raise ValueError(f"{folder} is not a set of single images: its features are {[*features]}")
    return image, pick(kinds.ClassLabel, "label")


@contextlib.contextmanager
def _without_opencv_advice() -> Iterator[None]:
    """Hides TFDS's one line of advice to install OpenCV; Pillow decodes the same bytes."""
    logger = logging.getLogger("absl")

    def keep(record: logging.LogRecord) -> bool:
        return "OpenCV is not installed" not in record.getMessage()

    logger.addFilter(keep)
    try:
        yield
    finally:
        logger.removeFilter(keep)
