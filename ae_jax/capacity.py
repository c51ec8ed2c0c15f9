"""How much memory there is, and what to do where that is not enough."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
from jax.sharding import Mesh

SHARE = 0.5
"""Of a device's memory that a data set may take before it is streamed."""
_CGROUP = Path("/sys/fs/cgroup/memory.max")


def device_bytes(mesh: Mesh) -> int:
    """Memory of one of its devices, in bytes; CPU devices share that of the machine evenly."""
    here = [device for device in mesh.devices.flat if device.process_index == jax.process_index()]
    device = here[0] if here else mesh.devices.flat[0]
    stats = None if device.platform == "cpu" else device.memory_stats()
    if stats and "bytes_limit" in stats:
        return stats["bytes_limit"]
    return _host_bytes() // max(len(here), 1)


def data_bytes(data: Mapping[str, Any]) -> int:
    """What the arrays take on a device."""
    return sum(array.nbytes for array in data.values())


def check_batch(program: Any, mesh: Mesh, batch_size: int) -> None:
    """`ValueError` if the compiled `program` needs more memory than a device has.

    The message predicts a batch that would fit, from the share of the memory that grows with it.
    """
    memory, limit = program.memory_analysis(), device_bytes(mesh)
    if memory is None:  # a platform that does not say
        return
    growing = memory.temp_size_in_bytes
    fixed = memory.argument_size_in_bytes + memory.output_size_in_bytes - memory.alias_size_in_bytes
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
