"""Where arrays live when a run uses several devices: a mesh over the batch.

The mesh has one axis, ``data``. Parameters and the data set are on every device; a batch is split
over them. Under jit XLA then computes what one device would, and adds the sums over devices itself:
noise is drawn for the whole batch, so results do not depend on the number of devices beyond the
rounding of sums. The devices may be those of several processes, each of which then makes the same
calls in the same order, with the same data (`jax.distributed`).
"""

from typing import Any

import jax
from jax import Array
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from ae_jax.spec import require

AXIS = "data"


def data_mesh(devices: int | None = None) -> Mesh:
    """The mesh over the first `devices` devices of all processes (None: over all of them).

    Raises `ValueError` if there are not so many.
    """
    there = jax.devices()
    count = len(there) if devices is None else devices
    remedy = f"there are {len(there)} ({there[0].device_kind})"
    if there[0].platform == "cpu":
        remedy += "; more of a CPU's: jax.config.update('jax_num_cpu_devices', N) before any array"
    require(1 <= count <= len(there), "devices", devices, remedy)
    return jax.make_mesh((count,), (AXIS,), (AxisType.Auto,), devices=there[:count])


def replicated(mesh: Mesh) -> NamedSharding:
    """The whole array on every device."""
    return NamedSharding(mesh, P())


def split(mesh: Mesh, axis: int = 0) -> NamedSharding:
    """Axis `axis` of the array split over the devices."""
    return NamedSharding(mesh, P(*[None] * axis, AXIS))


def put(tree: Any, sharding: NamedSharding) -> Any:
    """Arrays that every process has, as arrays of that sharding."""
    if sharding.is_fully_addressable:
        return jax.device_put(tree, sharding)
    return jax.jit(lambda tree: tree, out_shardings=sharding)(tree)


def may_be_split(x: Array) -> bool:
    """Whether the program that is being traced may split `x` over devices: its mesh has several."""
    return jax.typeof(x).sharding.mesh.size > 1


def is_first_process() -> bool:
    """Whether this process is the one that writes: all are in step, one is enough."""
    return jax.process_index() == 0


def local(tree: Any) -> Any:
    """This process's copy of arrays that are whole on every device, to go on with alone."""
    return jax.tree.map(lambda leaf: leaf.addressable_data(0), tree)
