"""Functions of many latents that are split over devices.

The latents are split over the ``model`` axis of a mesh, the batch over its ``data`` axis (see
`ae_jax.devices.mesh`). XLA splits elementwise functions, matrix products and sums well. Of
selections and products by index it would gather the activations of all latents on every device, and
add tables over devices for every active latent. Functions that `by_part` maps add only gradients.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.sharding import AbstractMesh, AxisType
from jax.sharding import PartitionSpec as P

from ae_jax.devices.mesh import AXIS, MODEL

EVERYWHERE, ROWS, LATENTS, BOTH, STACKED = "everywhere", "rows", "latents", "both", "stacked"
"""How an array is split: not; [B, ...] by rows; [W, ...] by latents; [B, W] by both; [P, B, ...] by
rows."""


class Part(NamedTuple):
    """Some of the latents, and some of the rows of a batch; by default all rows."""

    width: int
    """The number of these latents."""
    latents: str | None = None
    """The axis of the mesh that the latents are split over; None where these are all of them."""
    rows: str | None = None
    """The axis of the mesh that the rows are split over."""

    def own(self, values: Array, indices: Array) -> tuple[Array, Array]:
        """`values` at `indices` of all latents as values and indices of these latents, [B, k] each.

        Where another part has the latent, the value is 0 and the index `width`, which is out of
        bounds: there is nothing to add. (Added to one row, zeros would queue up on a GPU.)
        """
        if self.latents is None:
            return values, indices
        inside = indices - self.first
        own = (inside >= 0) & (inside < self.width)
        return jnp.where(own, values, 0), jnp.where(own, inside, self.width)

    @property
    def first(self) -> Array | int:
        """The index of the first of these latents."""
        return 0 if self.latents is None else self.width * lax.axis_index(self.latents)

    def over_latents(self, x: Array) -> Array:
        """The sum of `x` over all parts of the latents."""
        return x if self.latents is None else lax.psum(x, self.latents)

    def over_rows(self, x: Array) -> Array:
        """The sum of `x` over all parts of the rows."""
        return x if self.rows is None else lax.psum(x, self.rows)


def by_part(
    fn: Callable[..., Any], inputs: Sequence[str], outputs: Any, *arrays: Array, latents: int
) -> Any:
    """``fn(part, *arrays)``, where each device of the mesh of `arrays` gives it its own part.

    Without several devices on a ``model`` axis, `fn` gets the arrays as they are. `inputs` and
    `outputs`, a tree, say how arrays are split. `latents` is the number of latents, and the first
    array that is split by rows gives their number.
    """
    mesh = _mesh(arrays)
    if mesh is None or latents % mesh.shape[MODEL]:
        return fn(Part(latents), *arrays)
    row = next(i for i, kind in enumerate(inputs) if kind in (ROWS, BOTH))
    rows = AXIS if len(arrays[row]) % mesh.shape[AXIS] == 0 else None
    part = Part(latents // mesh.shape[MODEL], MODEL, rows)
    specs = {
        EVERYWHERE: P(),
        ROWS: P(rows),
        LATENTS: P(MODEL),
        BOTH: P(rows, MODEL),
        STACKED: P(None, rows),
    }
    mapped = jax.shard_map(
        partial(fn, part),
        mesh=mesh,
        in_specs=tuple(specs[kind] for kind in inputs),
        out_specs=jax.tree.map(specs.get, outputs),
        check_vma=False,  # `fn` sums what differs between devices, as the callers' tests show
    )
    return mapped(*arrays)


def _mesh(arrays: Sequence[Array]) -> AbstractMesh | None:
    """The mesh of `arrays` whose ``model`` axis has several devices, if XLA splits arrays on it."""
    for array in arrays:
        mesh = jax.typeof(array).sharding.mesh
        if mesh.shape.get(MODEL, 1) > 1:
            automatic = all(kind == AxisType.Auto for kind in mesh.axis_types)
            return mesh if automatic and AXIS in mesh.shape else None
    return None
