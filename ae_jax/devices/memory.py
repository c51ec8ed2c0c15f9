"""How much memory there is, and what to do where that is not enough."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.experimental.multihost_utils import process_allgather
from jax.sharding import Mesh

SHARE = 0.5
"""Of a device's memory that a data set may take before it is streamed."""
_CGROUP = Path("/sys/fs/cgroup/memory.max")


def device_bytes(mesh: Mesh) -> int | None:
    """Memory of one of its devices, in bytes; None where the platform does not say.

    The least of all processes, which call this together. A process's CPU devices share the memory
    of the machine evenly.
    """
    there = local_bytes(mesh)
    if jax.process_count() > 1:
        least = int(process_allgather(np.int64(-1 if there is None else there)).min())
        there = None if least < 0 else least
    return there


def local_bytes(mesh: Mesh) -> int | None:
    """`device_bytes` of this process alone."""
    devices = [d for d in mesh.devices.flat if d.process_index == jax.process_index()]
    if not devices or devices[0].platform == "cpu":
        return _host_bytes() // max(len(devices), 1)
    return (devices[0].memory_stats() or {}).get("bytes_limit")


def data_bytes(data: Mapping[str, Any]) -> int:
    """What the arrays take on a device."""
    return sum(array.nbytes for array in data.values())


def check_batch(program: Any, mesh: Mesh, batch_size: int, *, beside: int = 0) -> None:
    """`ValueError` if the compiled `program`, and so many bytes beside, do not fit on a device.

    The message predicts a batch that would fit, from the share of the memory that grows with it.
    """
    memory, limit = program.memory_analysis(), device_bytes(mesh)
    if memory is None or limit is None:  # a platform that does not say
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
        else "use a smaller model, or stream=True if it is the data"
    )
    raise ValueError(
        f"batch_size={batch_size}: needs {size(fixed + growing)} ({size(growing)} of it for the "
        f"batch) and a device has {size(limit)}: {remedy}"
    )


def size(count: int) -> str:
    """Bytes, for people: 1.5 GB."""
    value, units = float(count), ["B", "kB", "MB", "GB", "TB"]
    while value >= 1000 and len(units) > 1:
        value /= 1000
        units.pop(0)
    return f"{value:.3g} {units[0]}"


def _host_bytes() -> int:
    """Of the machine, or of the container if that has less."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        return min(total, int(_CGROUP.read_text()))
    except (OSError, ValueError):  # there is none, or it has no limit: "max"
        return total
