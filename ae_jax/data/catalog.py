"""Names of data sets, the folder in which they are searched, and the remedy if one is missing."""

from __future__ import annotations

import difflib
import os
import re
import shlex
from pathlib import Path

from ae_jax.files import user_path

TFDS_DIR = "~/tensorflow_datasets"
COMMON = ("mnist", "fashion_mnist", "cifar10")  # known without importing TFDS
IDX_SETS = ("mnist", "fashion_mnist", "kmnist")  # published as a folder of four idx files
NAME = re.compile(r"[a-z]\w*(/[\w.-]+)?", re.ASCII)  # "mnist", or with a configuration, "a/b"


def data_root(data_dir: str | os.PathLike[str] | None = None) -> Path:
    """The folder of data sets: `data_dir`, else $AE_JAX_DATA, else the default of TFDS."""
    return user_path(data_dir or os.environ.get("AE_JAX_DATA") or TFDS_DIR)


def require_known(name: str) -> None:
    """Raise `ValueError` with a suggestion unless TFDS has a set of this name.

    The names are those of the installed TFDS; the network is not used.
    """
    if name in COMMON:
        return
    import tensorflow_datasets as tfds

    known = ["digits", "static_mnist", *tfds.list_builders(with_community_datasets=False)]
    if NAME.fullmatch(name) and name.split("/")[0] in known:
        return
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.7)
    suggestion = (
        f"did you mean {near[0]!r}?" if near else "known are for example 'digits' and 'mnist'"
    )
    raise ValueError(
        f"no data set is called {name!r} ({suggestion}): "
        "give a TFDS name, a folder of idx files or of shards, such as './acts', or an .npz file"
    )


def not_there(name: str, root: Path) -> FileNotFoundError:
    """The error for a known set that is not in `root`; it says what to do."""
    if name == "static_mnist":
        return FileNotFoundError(
            f"static_mnist is not in {root}: copy static_mnist.npz, or the three files "
            "binarized_mnist_*.amat of Larochelle & Murray, there"
        )
    command = f"python -m ae_jax.data prepare {name}"
    if root != data_root():
        command += f" --data-dir {shlex.quote(str(root))}"
    return FileNotFoundError(f"{name} is not in {root}: run '{command}'")
