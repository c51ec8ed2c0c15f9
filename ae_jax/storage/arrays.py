"""Write trees of arrays to folders and read them with orbax. No other module imports orbax.

Each array is stored unsharded in one uncompressed file. Before an array is read, its name, shape,
dtype and file size are compared with those of the expected array.
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
    """Return the arrays in `folder` as a tree with the structure and devices of `like`.

    `like` may have `jax.ShapeDtypeStruct` instead of arrays. Raises `ValueError` with the first
    array whose name, shape, dtype or file size differs.
    """
    expected = _abstract(like)
    _check(folder, expected)
    as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), expected)
    try:
        with _quiet_absl():
            args = ocp.args.PyTreeRestore(expected, restore_args=as_numpy)
            arrays = _orbax().restore(folder, args=args)
    except Exception as error:  # orbax and tensorstore raise many types
        reason = str(error).partition("\n")[0]
        raise ValueError(f"{folder} cannot be read: {reason}") from None
    return jax.tree.map(lambda array, like: put(array, like.sharding), arrays, expected)


def _abstract(tree: Any) -> Any:
    """Return the shape, dtype and sharding of each array; the default is the first device."""
    first_device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])

    def describe(a: Any) -> jax.ShapeDtypeStruct:
        sharding = getattr(a, "sharding", None) or first_device
        return jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=sharding)

    return jax.tree.map(describe, tree)


def _orbax() -> ocp.Checkpointer:
    # Processes work independently, so that a failure in one does not leave the others waiting.
    independent = ocp.options.MultiprocessingOptions(
        primary_host=jax.process_index(),
        active_processes={jax.process_index()},
        barrier_sync_key_prefix=f"ae_jax_{jax.process_index()}",
    )
    handler = ocp.PyTreeCheckpointHandler(
        use_ocdbt=False, use_compression=False, multiprocessing_options=independent
    )
    return ocp.Checkpointer(handler, multiprocessing_options=independent)


@contextlib.contextmanager
def _quiet_absl() -> Iterator[None]:
    """Silence absl's logger, where orbax logs every file it writes and every error it raises."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


def _check(folder: Path, expected: Any) -> None:
    """Raise `ValueError` unless the arrays in `folder` have the expected names, shapes, dtypes."""
    arrays = {path.replace("/", "."): leaf for path, leaf in by_path(expected).items()}
    stored = {path.name for path in folder.iterdir() if (path / ".zarray").is_file()}
    for name in sorted(stored ^ arrays.keys()):
        side = "checkpoint" if name in stored else "model"
        raise ValueError(f"{folder}: only the {side} has {folder.name}/{name.replace('.', '/')}")
    for name, array in arrays.items():
        path, label = folder / name, f"{folder}: {folder.name}/{name.replace('.', '/')}"
        header = read_json(path / ".zarray")
        shape, dtype = list(array.shape), _zarr_dtype(array.dtype)
        if not isinstance(header, dict):
            raise ValueError(f"{label} has no header")
        if (header.get("shape"), header.get("dtype")) != (shape, dtype):
            raise ValueError(
                f"{label} is {_name(header.get('dtype'))}{header.get('shape')} in the checkpoint, "
                f"{array.dtype}{shape} in the model"
            )
        plain = {"zarr_format": 2, "chunks": shape, "dimension_separator": ".", "order": "C"}
        plain |= {"compressor": None, "filters": None, "fill_value": None}
        for key in sorted(header.keys() ^ plain.keys() ^ {"shape", "dtype"}):
            problem = "unexpected" if key in header else "missing"
            raise ValueError(f"{label}: {key!r} is {problem} in its header")
        for key, value in plain.items():
            if header[key] != value:
                raise ValueError(f"{label}: {key} is {header[key]!r}, not {value!r}")
        chunk = path / (".".join("0" * len(shape)) or "0")
        actual_bytes = require_regular(chunk)
        expected_bytes = math.prod(shape) * array.dtype.itemsize
        if actual_bytes != expected_bytes:
            raise ValueError(f"{chunk} has {actual_bytes} bytes, not {expected_bytes}")
    _check_metadata(folder / "_METADATA", set(by_path(expected)))


def _check_metadata(file: Path, expected: set[str]) -> None:
    """Raise `ValueError` unless orbax's metadata lists exactly the expected arrays."""
    try:
        metadata = read_json(file)
        formats = [metadata.pop(name) for name in ("use_ocdbt", "use_zarr3", "custom_metadata")]
        entries = [
            ("/".join(key["key"] for key in entry["key_metadata"]), entry["value_metadata"])
            for entry in metadata["tree_metadata"].values()
        ]
        arrays = {path for path, value in entries if not value["skip_deserialize"]}
        kinds = {value["value_type"] for path, value in entries if path in expected}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{file} is not in orbax's format: {error!r}") from None
    if arrays != expected or kinds != {"np.ndarray"} or formats != [False, False, None]:
        raise ValueError(f"{file} does not match the arrays in its folder")


def _zarr_dtype(dtype: np.dtype) -> str:
    # NumPy has kind "V" for extension types such as bfloat16, which zarr stores by name.
    return dtype.name if dtype.kind == "V" else dtype.str


def _name(dtype: Any) -> str:
    try:
        return np.dtype(str(dtype)).name
    except TypeError:  # not a NumPy dtype
        return str(dtype)
