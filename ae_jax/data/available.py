"""Which data sets are there, told from their files without reading them."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ae_jax.data import array_record, catalog, idx


class Found(NamedTuple):
    name: str
    form: str
    """array_record (or another of TFDS's formats), or idx."""
    folder: Path
    splits: dict[str, int] | None
    """Split -> examples; None where the files do not say."""


def available(root: Path) -> Iterator[Found]:
    """The sets that `load` finds by name under `root`; "digits" is always there besides.

    Raises `ValueError` naming the file, for a set whose description is damaged.
    """
    for folder in sorted(root.glob("*")):
        if idx.holds_idx(folder):
            yield Found(folder.name.replace("-", "_"), "idx", folder, None)
    if idx.holds_idx(root):
        yield Found("/".join(catalog.IDX_SETS), "idx", root, None)
    for path in sorted(
        [*root.glob("*/*/dataset_info.json"), *root.glob("*/*/*/dataset_info.json")]
    ):
        info = array_record.read_info(path.parent)
        splits = {split: sum(lengths) for split, lengths in info.splits.items()}
        name = path.parent.parent.relative_to(root).as_posix()
        yield Found(name, info.file_format, path.parent, splits)
