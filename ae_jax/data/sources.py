"""`load`: one entry to every place data comes from."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from ae_jax.data import array_record, catalog, idx, originals
from ae_jax.data.array_record import Decode
from ae_jax.data.csv import load_csv
from ae_jax.data.npz import load_npz
from ae_jax.data.splits import hold_out, require_split


def load(
    name: str | os.PathLike[str],
    split: str,
    data_dir: str | os.PathLike[str] | None = None,
    *,
    decode: Decode = "once",
) -> dict[str, Any]:
    """Loads one split of a data set. Never touches the network.

    Args:
      name: one of
        - "digits": 1797 real 8x8 digits inside scikit-learn, 1437 to train and 360 to test, cut
          by a fixed permutation (`splits.hold_out`), values 0..16 rescaled to 0..255;
        - a TFDS image set ("mnist", "cifar10", "emnist/letters"), looked for in `data_dir` as
          TFDS prepares it (array_record), else as raw idx files in a folder of that name;
        - a folder of raw idx files, gzipped or not: a path, "./fashion" where it is one word;
        - a path to an .npz file (`npz.load_npz`), or a .csv file (`csv.load_csv`).
      split: "train", "test", or whatever splits the TFDS set has.
      data_dir: where sets are looked for by name. Default: the environment variable AE_JAX_DATA,
        else TFDS's own folder in the home directory. Only read, never written.
      decode: of a TFDS set: "once" writes a decoded copy to the cache, from where its arrays are
        mapped into memory, so that they take none until they are used (and are read-only: copy what
        you want to change); "always" decodes while training, which then waits for it, and has
        images only.

    Returns:
      {"x": uint8 [N, H, W, C], "label": int32 [N]}, read in the order of the files. A file may
      instead hold float32 "x" `[N, ...event]`, and "label" is there if the set has labels. With
      decode="always", "x" is `records.Records`, which `ae_jax.training.fit` streams from.

    Raises:
      FileNotFoundError: the set is not there; the message says what to run.
      ValueError: an unknown name or split, a damaged file, or decode="always" of another set.
      TypeError: an .npz file holds numbers that are neither uint8 nor floats.
    """
    if decode == "always":
        return _records(name, split, data_dir)
    if path := _as_path(name):
        readers = {".npz": load_npz, ".csv": load_csv}
        return readers.get(path.suffix, idx.load_folder)(path, split)
    name = str(name)
    if name == "digits":
        return _digits(split)
    root = catalog.data_root(data_dir)
    if catalog.NAME.fullmatch(name):
        if prepared := array_record.find(root, name):
            return array_record.load_prepared(prepared, split)
        if folder := _idx_folder(root, name):
            return idx.load_folder(folder, split)
    catalog.require_known(name)
    raise catalog.not_there(name, root)


def _records(
    name: str | os.PathLike[str], split: str, data_dir: str | os.PathLike[str] | None
) -> dict[str, Any]:
    root = catalog.data_root(data_dir)
    prepared = array_record.find(root, str(name)) if catalog.NAME.fullmatch(str(name)) else None
    if prepared is None:
        raise ValueError(
            f"decode='always' of {name}: only a set that TFDS prepared is decoded while training, "
            f"and there is none of this name in {root}; leave it out"
        )
    return array_record.load_prepared(prepared, split, decode="always")


def _as_path(name: str | os.PathLike[str]) -> Path | None:
    """The path that `name` is, or None where it is the name of a set."""
    path = Path(name).expanduser()
    written_as_path = isinstance(name, os.PathLike) or name.startswith((".", "/", "~"))
    return (
        path
        if written_as_path or path.suffix in (".npz", ".csv") or _is_nested_folder(path)
        else None
    )


def _is_nested_folder(path: Path) -> bool:
    """Whether this is a folder and more than one word, which alone would be the name of a set."""
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
    """Refuses another published set under this name: their files are called the same."""
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
    return hold_out({"x": x, "label": digits.target.astype(np.int32)}, split)
