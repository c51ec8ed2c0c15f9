"""The start of a dictionary that depends on training examples."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from ae_jax.core import Batch
from ae_jax.models.dictionaries.unit_rows import normalized

MEDIAN_STEPS = 100


def started(spec: Any, variables: Mapping[str, Any], batch: Batch, key: Array) -> dict[str, Any]:
    """`variables` with the scale, the center and the directions that `spec` takes from examples.

    `batch` is a sample of the training examples. Pure.
    """
    params, rest = dict(variables["params"]), {n: c for n, c in variables.items() if n != "params"}
    columns = {name: batch[name].reshape(len(batch[name]), -1) for name in ("x", "target")
               if name in batch}  # fmt: skip
    if spec.normalize:
        scales = {name: root_mean_square(column) for name, column in columns.items()}
        names = ("x", "target") if spec.target_dim else ("x",)
        rest["statistics"] = {f"{name}_scale": scales[name] for name in names}
        columns = {name: column / scales[name] for name, column in columns.items()}
    target = columns["target"] if spec.target_dim else columns["x"]
    if spec.center != "none":
        params["bias"] = target.mean(0) if spec.center == "mean" else geometric_median(target)
    if spec.start == "data":
        order = jnp.arange(spec.width)
        rows = jax.random.permutation(key, len(target))[order % len(target)]
        chosen = normalized(target[rows] - params["bias"])
        # An example at the center has no direction. Two equal latents would never differ, so
        # those beyond the examples stay random.
        kept = jnp.linalg.norm(chosen, axis=1, keepdims=True) > 0
        kept &= (order < len(target))[:, None]
        params["decoder"] = jnp.where(kept, chosen, params["decoder"])
        if not spec.tied and not spec.target_dim:
            params["encoder"] = params["decoder"]
        elif not spec.tied:
            inputs = normalized(columns["x"][rows])
            params["encoder"] = jnp.where(kept, inputs, params["encoder"])
    return {"params": params, **rest}


def root_mean_square(x: Array) -> Array:
    """The number by which x [B, D] must be divided for a mean squared norm of D: []."""
    scale = jnp.sqrt(jnp.square(x).mean())
    return jnp.where(scale > 0, scale, 1.0)


def geometric_median(x: Array) -> Array:
    """The point with the smallest sum of distances to the rows of x [B, D]: [D].

    Weiszfeld's iteration, with distances of at least a millionth of the mean one, so that a row at
    the median does not stop it.

    Source: Weiszfeld, Sur le point pour lequel la somme des distances de n points donnés est
    minimum, 1937.
    """

    def one(_: int, median: Array) -> Array:
        distance = jnp.linalg.norm(x - median, axis=1)
        weight = 1.0 / jnp.maximum(distance, 1e-6 * jnp.maximum(distance.mean(), 1e-30))
        return (weight[:, None] * x).sum(0) / weight.sum()

    found: Array = lax.fori_loop(0, MEDIAN_STEPS, one, x.mean(0))
    return found
