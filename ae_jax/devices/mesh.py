"""The mesh of devices that a run uses, and the placement of arrays on it.

The mesh has one axis, ``data``. Every device holds the parameters and the data set; a batch is
split over the devices. Under jit, XLA computes the same as one device would and inserts the sums
over devices. Noise is drawn for the whole batch. So results do not depend on the number of devices,
except for the rounding of sums. The devices may belong to several processes (`jax.distributed`):
each process then makes the same calls in the same order, with the same data.
"""

from typing import Any

import jax
import numpy as np
from jax import Array
from jax.experimental.multihost_utils import broadcast_one_to_all
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from ae_jax.spec import require

AXIS = "data"


def data_mesh(devices: int | None = None) -> Mesh:
    """The mesh over the first `devices` devices of all processes (by default over all).

    Raises `ValueError` if fewer devices exist.
    """
    known = jax.devices()
    count = len(known) if devices is None else devices
    remedy = f"there are {len(known)} ({known[0].device_kind})"
    if known[0].platform == "cpu":
        remedy += "; for more CPU devices: jax.config.update('jax_num_cpu_devices', N) at the start"
    require(1 <= count <= len(known), "devices", devices, remedy)
    return jax.make_mesh((count,), (AXIS,), (AxisType.Auto,), devices=known[:count])


def replicated(mesh: Mesh) -> NamedSharding:
    """The sharding of an array that every device holds in full."""
    return NamedSharding(mesh, P())


def split(mesh: Mesh, axis: int = 0) -> NamedSharding:
    """The sharding of an array whose axis `axis` is split over the devices."""
    return NamedSharding(mesh, P(*[None] * axis, AXIS))


def put(tree: Any, sharding: NamedSharding) -> Any:
    """Arrays that every process holds, placed with `sharding`."""
    if sharding.is_fully_addressable:
        return jax.device_put(tree, sharding)
    return jax.jit(lambda tree: tree, out_shardings=sharding)(tree)


def may_be_split(x: Array) -> bool:
    """Whether the program being traced may split `x`: its mesh has more than one device."""
    return jax.typeof(x).sharding.mesh.size > 1


def is_first_process() -> bool:
    """Whether this process is the one that writes files; the others hold the same results."""
    return jax.process_index() == 0


def refuse_together(error: str) -> None:
    """Raise `ValueError` in every process if the first one gives an `error`."""
    if jax.process_count() > 1 and broadcast_one_to_all(np.int32(bool(error))):
        error = error or "process 0 refused to begin: see its error"
    if error:
        raise ValueError(error)


def local(tree: Any) -> Any:
    """This process's own copy of arrays that every device holds in full."""
    return jax.tree.map(lambda leaf: leaf.addressable_data(0), tree)
