"""`python -m ae_jax.data`: prepare a data set, list the prepared ones, or check shards."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from ae_jax.data import catalog


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message}\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code; an error is one line and exit code 2."""
    parser = _Parser(prog="python -m ae_jax.data", description="Data sets for ae_jax.")
    commands = parser.add_subparsers(dest="command", required=True)
    prepare_args = commands.add_parser(
        "prepare",
        help="download a set and write it as array_record",
        description="Prepare a TFDS set as array_record. mnist, fashion_mnist and cifar10 need no "
        "TensorFlow; others need pip install 'ae_jax[tensorflow]'.",
    )
    prepare_args.add_argument("name", help="mnist, fashion_mnist, cifar10 or any TFDS name")
    prepare_args.add_argument(
        "--from", dest="source", type=Path, metavar="DIR", help="folder of already downloaded files"
    )
    list_args = commands.add_parser("list", help="list the sets that `load` finds by name")
    for command in (prepare_args, list_args):
        command.add_argument(
            "--data-dir", metavar="DIR", help="folder of sets; default: $AE_JAX_DATA, else TFDS's"
        )
    check_args = commands.add_parser(
        "check",
        help="read a folder of shards",
        description="Read a folder of shards: SHA-256 (of those that `write_activations` wrote), "
        "rows that are not finite, elements without variance.",
    )
    check_args.add_argument("folder", type=Path)
    options = parser.parse_args(arguments)
    try:
        if options.command == "check":
            _check(options.folder)
        elif options.command == "list":
            _list(catalog.data_root(options.data_dir))
        else:
            _prepare(options.name, catalog.data_root(options.data_dir), options.source)
    except (OSError, TypeError, ValueError) as error:
        parser.error(" ".join(str(error).split()))
    except KeyboardInterrupt:
        return 130
    return 0


def _prepare(name: str, root: Path, source: Path | None) -> None:
    from ae_jax.data.prepare import prepare

    if not sys.stderr.isatty():
        import tensorflow_datasets as tfds

        tfds.disable_progress_bar()
    print(f"{name} is in {prepare(name, root, source)}")


def _check(folder: Path) -> None:
    from ae_jax.data.scan import check_activations
    from ae_jax.data.shard_files import MANIFEST, verify_shards
    from ae_jax.data.shards import columns

    found = columns(folder)
    if (folder / MANIFEST).exists():
        verify_shards(folder)
    check_activations(found)
    for name, column in found.items():
        print(f"{name}: {column.dtype}{list(column.shape)} in {len(column.files)} files")


def _list(root: Path) -> None:
    from ae_jax.data.available import available

    print("digits: built into scikit-learn")
    for name, form, folder, splits in available(root):
        if splits is None:
            print(f"{name}: {form} in {folder}")
        else:
            sizes = ", ".join(f"{split} {count}" for split, count in splits.items())
            print(f"{name}: {form} in {folder} ({sizes})")


if __name__ == "__main__":
    sys.exit(main())
