"""The memory of devices: how much a device has, and whether a batch fits."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jax.experimental.multihost_utils import process_allgather
from jax.sharding import Mesh

from ae_jax.devices.host import memory_bytes

SHARE = 0.5
"""The share of a device's memory that data sets may fill; larger ones are streamed."""


def device_bytes(mesh: Mesh) -> int | None:
    """Memory of one device of `mesh` in bytes, or None if the platform does not report it.

    All processes call this together and get the minimum over them. The CPU devices of a process
    share the memory of the machine evenly.
    """
    return _least(local_bytes(mesh))


def host_bytes() -> int:
    """Memory of this machine in bytes; with several processes the minimum over them, as above."""
    return _least(memory_bytes()) or 0


def _least(memory: int | None) -> int | None:
    """The minimum over all processes, or None if one does not know."""
    if jax.process_count() > 1:
        least = int(process_allgather(np.int64(-1 if memory is None else memory)).min())
        memory = None if least < 0 else least
    return memory


def local_bytes(mesh: Mesh) -> int | None:
    """`device_bytes` of this process alone."""
    devices = [d for d in mesh.devices.flat if d.process_index == jax.process_index()]
    if not devices or devices[0].platform == "cpu":
        return memory_bytes() // max(len(devices), 1)
    return (devices[0].memory_stats() or {}).get("bytes_limit")


def data_bytes(data: Mapping[str, Any]) -> int:
    """Bytes of the arrays of a data set; of a generated one, those of the arrays that it reads."""
    return sum(leaf.nbytes for leaf in jax.tree.leaves(data))


def check_batch(program: Any, mesh: Mesh, batch_size: int, *, beside: int = 0) -> None:
    """Raise `ValueError` unless the compiled `program` and `beside` bytes fit on a device.

    The message names a batch size that would fit, estimated from the memory that grows with it.
    """
    memory, limit = program.memory_analysis(), device_bytes(mesh)
    if memory is None or limit is None:  # the platform does not report it
        return
    growing = memory.temp_size_in_bytes
    fixed = memory.argument_size_in_bytes + memory.output_size_in_bytes - memory.alias_size_in_bytes
    fixed += beside
    if fixed + growing <= limit:
        return
    fits = int((limit - fixed) * batch_size / growing) if growing else 0
    remedy = (
        f"use batch_size={1 << (fits.bit_length() - 1)}, or accumulate= to keep the larger batch"
        if 0 < fits < batch_size
        else "use a smaller model, or stream=True if the data is large"
    )
    raise ValueError(
        f"batch_size={batch_size}: needs {size(fixed + growing)} ({size(growing)} of it for the "
        f"batch) and a device has {size(limit)}: {remedy}"
    )


def size(count: int) -> str:
    """Bytes as a readable text: "1.5 GB"."""
    value, units = float(count), ["B", "kB", "MB", "GB", "TB"]
    while value >= 1000 and len(units) > 1:
        value /= 1000
        units.pop(0)
    return f"{value:.3g} {units[0]}"
