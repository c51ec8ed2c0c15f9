"""`load` reads a data set by name or from a file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from ae_jax.data import array_record, catalog, idx, originals, static_mnist
from ae_jax.data.array_record import Decode
from ae_jax.data.csv import load_csv
from ae_jax.data.npz import load_npy, load_npz
from ae_jax.data.shards import holds_shards, load_shards
from ae_jax.data.splits import require_split
from ae_jax.files import user_path

READERS = {".npz": load_npz, ".npy": load_npy, ".csv": load_csv, ".tsv": load_csv}
READERS |= {".csv.gz": load_csv, ".tsv.gz": load_csv}


def load(
    name: str | os.PathLike[str],
    split: str,
    data_dir: str | os.PathLike[str] | None = None,
    *,
    decode: Decode = "once",
) -> dict[str, Any]:
    """Load one split of a data set; the network is never used.

    Args:
      name: one of
        - "digits": 1797 real 8x8 digits of scikit-learn, 1437 for training and 360 for tests, with
          values 0..16 rescaled to 0..255;
        - a TFDS image set ("mnist", "cifar10", "emnist/letters") in `data_dir`, as prepared by
          TFDS (array_record), or as raw idx files in a folder of that name;
        - "static_mnist": binary images of one fixed draw (see `static_mnist`), in `data_dir`, which
          may be its file or folder;
        - a path to a folder of raw idx files, gzipped or not ("./fashion" if it is one word), or to
          the file or folder of static_mnist;
        - a path to a folder of shards, .npy or .safetensors (`shards.load_shards`);
        - a path to an .npz or .npy file (`npz.load_npz`), or to a table, .csv or .tsv, gzipped or
          not (`csv.load_csv`).
      split: "train", "test", or another split of static_mnist ("valid") or of a TFDS set.
      data_dir: the folder in which sets are searched by name. By default the environment variable
        AE_JAX_DATA, else the folder of TFDS in the home directory. It is only read.
      decode: for a TFDS set. "once" writes a decoded copy to the cache and maps its arrays into
        memory: they are read-only and need no memory until they are used. "always" decodes while
        training, which is slower, and returns no labels.

    Returns:
      {"x": uint8 [N, H, W, C], "label": int32 [N]} in the order of the files. From a file, "x" may
      also be float32 `[N, ...event]`. Sets without labels have no "label". With decode="always",
      "x" is a `records.Records`, from which `ae_jax.training.fit` streams. The columns of shards
      are `shards.Shards`, which it streams or reads, whatever fits the memory.

    Raises:
      FileNotFoundError: the set does not exist; the message contains the command to run.
      ValueError: an unknown name or split, a damaged file, or decode="always" of another set.
      TypeError: an .npz file contains numbers that are neither uint8 nor floats.
    """
    if decode == "always":
        return _records(name, split, data_dir)
    if path := _as_path(name):
        if not path.exists():
            raise FileNotFoundError(
                f"{path} does not exist: give its path, or its new one if it was moved"
            )
        if place := static_mnist.find(path, nested=False):
            return static_mnist.load_static(place, split)
        if (reader := READERS.get(_suffix(path))) is None and path.is_file():
            raise ValueError(f"{path}: is not read by its name: use one of {', '.join(READERS)}")
        if path.is_dir() and not idx.holds_idx(path):
            if holds_shards(path):
                return load_shards(path, split)
            raise FileNotFoundError(
                f"{path} holds neither shards, such as x-00000.npy or shard-00000.safetensors, nor "
                f"idx files, such as {idx.PREFIXES['train']}-images-idx3-ubyte"
            )
        return (idx.load_folder if path.is_dir() or reader is None else reader)(path, split)
    name = str(name)
    if name == "digits":
        return _digits(split)
    root = catalog.data_root(data_dir)
    if name == static_mnist.NAME:
        if place := static_mnist.find(root):
            return static_mnist.load_static(place, split)
        raise catalog.not_there(name, root)
    if catalog.NAME.fullmatch(name):
        if prepared := array_record.find(root, name):
            return array_record.load_prepared(prepared, split)
        if folder := _idx_folder(root, name):
            return idx.load_folder(folder, split)
    catalog.require_known(name)
    raise catalog.not_there(name, root)


def located(name: str) -> str:
    """`name` with an absolute path if it is a path, so that it means the same in any folder."""
    path = _as_path(name)
    return name if path is None else os.path.abspath(path)


def _records(
    name: str | os.PathLike[str], split: str, data_dir: str | os.PathLike[str] | None
) -> dict[str, Any]:
    root = catalog.data_root(data_dir)
    prepared = array_record.find(root, str(name)) if catalog.NAME.fullmatch(str(name)) else None
    if prepared is None:
        raise ValueError(
            f"decode='always' of {name}: only a set prepared by TFDS is decoded while training, "
            f"and {root} has no set of this name; remove decode='always'"
        )
    return array_record.load_prepared(prepared, split, decode="always")


def _as_path(name: str | os.PathLike[str]) -> Path | None:
    """`name` as a path, or None if it is the name of a set."""
    path = user_path(name)
    written_as_path = isinstance(name, os.PathLike) or name.startswith((".", "/", "~"))
    return path if written_as_path or _suffix(path) in READERS or _is_nested_folder(path) else None


def _suffix(path: Path) -> str:
    """The end of a file's name: ".csv", or ".csv.gz" of a gzipped file."""
    suffixes = path.suffixes[-2:] if path.suffix.lower() == ".gz" else path.suffixes[-1:]
    return "".join(suffixes).lower()


def _is_nested_folder(path: Path) -> bool:
    """Whether this is a folder; a path of one word is the name of a set instead."""
    return len(path.parts) > 1 and path.is_dir()


def _idx_folder(root: Path, name: str) -> Path | None:
    """The folder of raw idx files for a set: named after it, or `root` itself."""
    for folder in (root / name, root / name.replace("_", "-")):
        if idx.holds_idx(folder):
            return folder
    if name in catalog.IDX_SETS and idx.holds_idx(root):
        _require_not_another(root, name)
        return root
    return None


def _require_not_another(folder: Path, name: str) -> None:
    """Raise `ValueError` if the folder holds another published set; all use the same file names."""
    for part in ("train-labels-idx1-ubyte", "t10k-labels-idx1-ubyte"):
        if path := idx.find(folder, part):
            digest = idx.digest(idx.read_idx(path))
            for other, digests in originals.IDX.items():
                if other != name and digest == digests[part]:
                    raise ValueError(f"{folder} holds {other}, not {name}: load {other!r} from it")


def _digits(split: str) -> dict[str, np.ndarray]:
    require_split(split, ("train", "test"), "digits")
    from sklearn.datasets import load_digits

    digits = load_digits()
    x = np.rint(digits.images * (255 / 16)).astype(np.uint8)[..., None]
    # Not `hold_out`: results that are published beside the code are of these rows.
    order = np.random.RandomState(0).permutation(len(x))
    rows = order[:1437] if split == "train" else order[1437:]
    return {"x": x[rows], "label": digits.target.astype(np.int32)[rows]}
