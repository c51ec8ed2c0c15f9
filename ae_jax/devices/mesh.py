"""The mesh of devices that a run uses, and the placement of arrays on it.

The mesh has two axes. A batch is split over ``data``. Arrays of a model that are too wide for a
device are split over ``model`` (see `Autoencoder.partition`); that axis has length 1 unless a run
asks for more. Every device holds all other parameters, and the data set. Under jit, XLA computes
the same as one device would and inserts the sums over devices. Noise is drawn for the whole batch.
So results do not depend on the mesh, except for the rounding of sums. The devices may belong to
several processes (`jax.distributed`): each process then makes the same calls in the same order,
with the same data.
"""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax import Array
from jax.experimental.multihost_utils import broadcast_one_to_all, process_allgather
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from ae_jax.spec import require

AXIS = "data"
MODEL = "model"


def data_mesh(devices: int | None = None, model_devices: int = 1) -> Mesh:
    """The mesh over the first `devices` devices of all processes (by default over all).

    Raises `ValueError` if fewer devices exist, and as `mesh_over`.
    """
    known = jax.devices()
    count = len(known) if devices is None else devices
    remedy = f"there are {len(known)} ({known[0].device_kind})"
    if known[0].platform == "cpu":
        remedy += "; for more CPU devices: jax.config.update('jax_num_cpu_devices', N) at the start"
    require(1 <= count <= len(known), "devices", devices, remedy)
    return mesh_over(known[:count], model_devices)


def mesh_over(devices: Sequence[Any], model_devices: int = 1) -> Mesh:
    """The mesh over `devices`. Each group of `model_devices` neighbors is a ``model`` axis.

    Raises `ValueError` if they do not divide into such groups.
    """
    count = len(devices)
    ok = isinstance(model_devices, int) and model_devices >= 1 and count % model_devices == 0
    require(ok, "model_devices", model_devices, f"must divide {count}, the number of devices")
    shape = (count // model_devices, model_devices)
    return jax.make_mesh(shape, (AXIS, MODEL), (AxisType.Auto,) * 2, devices=devices)


def replicated(mesh: Mesh) -> NamedSharding:
    """The sharding of an array that every device holds in full."""
    return NamedSharding(mesh, P())


def split(mesh: Mesh, axis: int = 0, *, over: str = AXIS) -> NamedSharding:
    """The sharding of an array whose axis `axis` is split over the axis `over` of the mesh."""
    return NamedSharding(mesh, P(*[None] * axis, over))


def put(tree: Any, sharding: Any) -> Any:
    """Arrays that every process holds, placed with `sharding`, or a tree of shardings."""
    if all(one.is_fully_addressable for one in jax.tree.leaves(sharding)):
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


def on_host(array: Array) -> np.ndarray:
    """The whole of an array. Where processes hold parts of it, all of them call this together."""
    if array.is_fully_addressable:
        return np.asarray(array)
    if array.is_fully_replicated:
        return np.asarray(array.addressable_data(0))
    return np.asarray(process_allgather(array, tiled=True))


def local(tree: Any) -> Any:
    """Copies of arrays, whole, on the first device of this process.

    Where processes hold parts of them, all of them call this together.
    """

    def one(leaf: Array) -> Array:
        if leaf.is_fully_replicated:
            return leaf.addressable_data(0)
        return jax.device_put(on_host(leaf), jax.local_devices()[0])

    return jax.tree.map(one, tree)
