"""The data sets in a folder, recognized by their files without reading the examples."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ae_jax.data import array_record, catalog, idx, static_mnist


class Available(NamedTuple):
    """A data set that `load` can read by name."""

    name: str
    form: str
    """"array_record" (or another format of TFDS), "idx files" or "binary pixels"."""
    folder: Path
    splits: dict[str, int] | None
    """Split -> number of examples; None for files that do not state it."""


def available(root: Path) -> Iterator[Available]:
    """The sets that `load` finds by name under `root`, without "digits", which needs no files.

    Raises `ValueError`, which names the file, if the description of a set is damaged.
    """
    for folder in sorted(root.glob("*")):
        if idx.holds_idx(folder):
            yield Available(folder.name.replace("-", "_"), "idx files", folder, None)
    if idx.holds_idx(root):
        yield Available("/".join(catalog.IDX_SETS), "idx files", root, None)
    if place := static_mnist.find(root):
        yield Available(static_mnist.NAME, "binary pixels", place, None)
    for path in sorted(
        [*root.glob("*/*/dataset_info.json"), *root.glob("*/*/*/dataset_info.json")]
    ):
        info = array_record.read_info(path.parent)
        splits = {split: sum(lengths) for split, lengths in info.splits.items()}
        name = path.parent.parent.relative_to(root).as_posix()
        yield Available(name, info.file_format, path.parent, splits)
