"""Where arrays live when a run uses several devices: a mesh over the batch.

The mesh has one axis, ``data``. Parameters and the data set are on every device; a batch is split
over them. Under jit XLA then computes what one device would, and adds the sums over devices itself:
noise is drawn for the whole batch, so results do not depend on the number of devices beyond the
rounding of sums.
"""

import jax
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
