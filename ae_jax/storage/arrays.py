"""Trees of arrays in a folder, written and read by orbax. No other file uses it.

Each array is whole, in one uncompressed file. Its name, shape, dtype and size are compared with
those of the wanted array before it is read.
"""

import contextlib
import logging
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from ae_jax.core import by_path
from ae_jax.devices.mesh import put
from ae_jax.files import read_json, require_regular


def write_arrays(folder: Path, tree: Any) -> None:
    """Write a tree of NumPy arrays to a new folder."""
    with _quiet_absl():
        _orbax().save(folder, args=ocp.args.PyTreeSave(tree))


def read_arrays(folder: Path, like: Any) -> Any:
    """Read the arrays in `folder`, as a tree like `like` and on the same devices.

    `like` may be abstract. Raises `ValueError`, one line, that names the first array whose name,
    shape, dtype or size differs.
    """
    wanted = _abstract(like)
    _check(folder, wanted)
    kinds = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), wanted)
    try:
        with _quiet_absl():
            args = ocp.args.PyTreeRestore(wanted, restore_args=kinds)
            arrays = _orbax().restore(folder, args=args)
    except Exception as error:  # orbax and tensorstore raise many kinds
        reason = str(error).partition("\n")[0]
        raise ValueError(f"{folder} cannot be read: {reason}") from None
    return jax.tree.map(lambda array, like: put(array, like.sharding), arrays, wanted)


def _abstract(tree: Any) -> Any:
    # With a sharding, so that orbax restores to where the target's arrays live.
    one = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])

    def describe(a: Any) -> jax.ShapeDtypeStruct:
        place = getattr(a, "sharding", None) or one
        return jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=place)

    return jax.tree.map(describe, tree)


def _orbax() -> ocp.Checkpointer:
    # Each process for itself: what goes wrong in one must not leave another waiting.
    alone = ocp.options.MultiprocessingOptions(
        primary_host=jax.process_index(),
        active_processes={jax.process_index()},
        barrier_sync_key_prefix=f"ae_jax_{jax.process_index()}",
    )
    handler = ocp.PyTreeCheckpointHandler(
        use_ocdbt=False, use_compression=False, multiprocessing_options=alone
    )
    return ocp.Checkpointer(handler, multiprocessing_options=alone)


@contextlib.contextmanager
def _quiet_absl() -> Iterator[None]:
    """Orbax announces each file that it writes, and logs each error that it also raises."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


def _check(folder: Path, wanted: Any) -> None:
    """Raises `ValueError` unless `folder` holds arrays of these names, shapes and dtypes."""
    arrays = {path.replace("/", "."): leaf for path, leaf in by_path(wanted).items()}
    stored = {path.name for path in folder.iterdir() if (path / ".zarray").is_file()}
    for name in sorted(stored ^ arrays.keys()):
        side = "checkpoint" if name in stored else "model"
        raise ValueError(f"{folder}: only the {side} has {folder.name}/{name.replace('.', '/')}")
    for name, want in arrays.items():
        path, here = folder / name, f"{folder}: {folder.name}/{name.replace('.', '/')}"
        header = read_json(path / ".zarray")
        shape, dtype = list(want.shape), _zarr_dtype(want.dtype)
        if not isinstance(header, dict):
            raise ValueError(f"{here} has no header")
        if (header.get("shape"), header.get("dtype")) != (shape, dtype):
            raise ValueError(
                f"{here} is {_name(header.get('dtype'))}{header.get('shape')} in the checkpoint, "
                f"{want.dtype}{shape} in the model"
            )
        plain = {"zarr_format": 2, "chunks": shape, "dimension_separator": ".", "order": "C"}
        plain |= {"compressor": None, "filters": None, "fill_value": None}
        for key in sorted(header.keys() ^ plain.keys() ^ {"shape", "dtype"}):
            raise ValueError(f"{here}: its header has {key!r} too many, or lacks it")
        for key, value in plain.items():
            if header[key] != value:
                raise ValueError(f"{here}: {key} is {header[key]!r}, not {value!r}")
        chunk = path / (".".join("0" * len(shape)) or "0")
        held, size = require_regular(chunk), math.prod(shape) * want.dtype.itemsize
        if held != size:
            raise ValueError(f"{chunk} holds {held} bytes, not {size}")
    _check_metadata(folder / "_METADATA", set(by_path(wanted)))


def _check_metadata(file: Path, wanted: set[str]) -> None:
    """Raises `ValueError` unless orbax's own file says that these are the arrays."""
    try:
        metadata = read_json(file)
        formats = [metadata.pop(name) for name in ("use_ocdbt", "use_zarr3", "custom_metadata")]
        entries = [
            ("/".join(key["key"] for key in entry["key_metadata"]), entry["value_metadata"])
            for entry in metadata["tree_metadata"].values()
        ]
        arrays = {path for path, value in entries if not value["skip_deserialize"]}
        kinds = {value["value_type"] for path, value in entries if path in wanted}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{file} is not as orbax writes it: {error!r}") from None
    if arrays != wanted or kinds != {"np.ndarray"} or formats != [False, False, None]:
        raise ValueError(f"{file} describes other arrays than there are")


def _zarr_dtype(dtype: np.dtype) -> str:
    return dtype.name if dtype.kind == "V" else dtype.str  # bfloat16 and its like are extensions


def _name(dtype: Any) -> str:
    try:
        return np.dtype(str(dtype)).name
    except TypeError:  # not one of NumPy's
        return str(dtype)
