"""The activations of one layer of a model, as a function of a batch."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.tree_util import Partial

from ae_jax.core import (
    Autoencoder,
    Batch,
    Variables,
    by_path,
    example_columns,
    floats_in,
    module_columns,
)
from ae_jax.spec import nearest


def layer_of(
    ae: Autoencoder, variables: Variables, path: str, *, positions: bool = False
) -> Partial:
    """The function ``batch -> [B, ...]`` with the output of a layer of a model, without noise.

    The output is that of the Flax module at `path`, before any function that its parent applies:
    ``lambda batch: nn.relu(layer(batch))`` are the activations behind a ReLU. A classifier of
    `ae_jax.evaluation.classifiers` is a model, too. The function is a `jax.tree_util.Partial` of
    the variables, so that `jax.jit` can have them as an argument instead of as constants.

    Args:
      ae: the model.
      variables: its parameters and untrained state.
      path: of the module, such as "encoder/Dense_0" (see `layer_names`).
      positions: flatten the axes between the first and the last: feature maps [B, H, W, C] become
        [B, H * W, C], from which `write_activations` makes a row of each position.

    Raises:
      ValueError: no layer of that path that is called once and gives one array of examples.
    """
    axes = _layers(ae, variables)
    if path not in axes:
        raise ValueError(f"layer {path!r}: {nearest(path, axes)}")
    return Partial(partial(_output, ae, path, axes[path], positions), variables)


def layer_names(ae: Autoencoder, variables: Variables) -> list[str]:
    """The paths of the layers that `layer_of` knows, in alphabetical order.

    They are the modules that are called once for a batch, and give one array with an axis of
    examples.
    """
    return sorted(_layers(ae, variables))


def _output(
    ae: Autoencoder, path: str, axis: int, positions: bool, variables: Variables, batch: Batch
) -> Array:
    (array,) = by_path(_intermediates(ae, variables, floats_in(batch), path)).values()
    array = jnp.moveaxis(array.astype(jnp.float32), axis, 0)
    return array.reshape(len(array), -1, array.shape[-1]) if positions else array


def _intermediates(ae: Autoencoder, variables: Variables, batch: Batch, path: str | None) -> Any:
    """The outputs of the module at `path`, or of all."""

    def wanted(module: Any, method: str) -> bool:
        return method == "__call__" and path in (None, "/".join(module.path))

    columns = module_columns(ae.columns, batch, 0)
    _, collections = ae.apply(
        variables, batch["x"], **columns, capture_intermediates=wanted, mutable=["intermediates"]
    )
    return collections["intermediates"]


def _layers(ae: Autoencoder, variables: Variables) -> dict[str, int]:
    """The axis of the examples in the output of each layer: 0, or 1 inside of a recurrence."""

    def shapes(rows: int) -> dict[str, tuple[int, ...]]:
        x = jax.ShapeDtypeStruct((rows, *ae.event_shape), jnp.float32)
        batch = {"x": x, **example_columns(ae.columns, ae.integers, rows)}
        batch.pop("step", None)
        tree = jax.eval_shape(lambda v, b: _intermediates(ae, v, b, None), variables, batch)
        return {path: leaf.shape for path, leaf in by_path(tree).items()}

    few, many, layers = shapes(2), shapes(3), dict[str, int]()
    for path, shape in few.items():
        name, call, number = path.rpartition("/__call__/")
        once = name and call and number == "0" and f"{name}/__call__/1" not in few
        pairs = [*zip(shape, many[path], strict=True)]
        differing = [axis for axis, (a, b) in enumerate(pairs) if a != b]
        if once and len(shape) > 1 and len(differing) == 1 and pairs[differing[0]] == (2, 3):
            layers[name] = differing[0]
    return layers
