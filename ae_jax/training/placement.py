"""Which part of each array of a state a device holds."""

import math
from typing import Any

import jax
from jax.sharding import Mesh

from ae_jax.core import Autoencoder, TrainState, by_path
from ae_jax.devices.mesh import MODEL, replicated, split
from ae_jax.spec import require


def is_split(mesh: Mesh) -> bool:
    """Whether the ``model`` axis of `mesh` has several devices."""
    return mesh.shape[MODEL] > 1


def placed(ae: Autoencoder, mesh: Mesh, tree: Any) -> Any:
    """The sharding of each array of `tree`: a state, or parts of one, or their shapes.

    Those that `Autoencoder.partition` names are split over the ``model`` axis of `mesh`; every
    device holds the others.
    """

    def place(path: str, leaf: Any) -> Any:
        for name, axis in ae.partition.items():
            # An optimizer may keep something smaller for a parameter.
            if _ends_with(path, name) and leaf.ndim > axis and _divides(mesh, leaf.shape[axis]):
                return split(mesh, axis, over=MODEL)
        return replicated(mesh)

    shardings = [place(path, leaf) for path, leaf in by_path(tree).items()]
    return jax.tree.unflatten(jax.tree.structure(tree), shardings)


def check_partition(ae: Autoencoder, mesh: Mesh, state: TrainState) -> None:
    """Raises `ValueError` unless the ``model`` axis of `mesh` divides what is to be split over it.

    `state` may be abstract.
    """
    count = mesh.shape[MODEL]
    needs = "this model has no arrays that devices can share (see Autoencoder.partition): use 1"
    require(bool(ae.partition), "model_devices", count, needs)
    arrays = by_path({"params": state.params, **state.model_state})
    for name, axis in ae.partition.items():
        shapes = [leaf.shape for path, leaf in arrays.items() if _ends_with(path, name)]
        ok = all(axis < len(shape) for shape in shapes) and bool(shapes)
        require(ok, "partition", {name: axis}, f"no such axis: the model has {', '.join(arrays)}")
        for length in {shape[axis] for shape in shapes}:
            fits = math.gcd(length, count)
            needs = f"must divide {length}, the length of {name}: use {fits}, or another length"
            require(_divides(mesh, length), "model_devices", count, needs)


def _ends_with(path: str, name: str) -> bool:
    return path == name or path.endswith(f"/{name}")


def _divides(mesh: Mesh, length: int) -> bool:
    return length % mesh.shape[MODEL] == 0
