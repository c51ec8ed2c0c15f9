"""A model of standardized data, as a model of the data itself."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax import Array

from ae_jax.core import Autoencoder, Batch, BatchTerm, Outputs, Term, Wrapper
from ae_jax.spec import require


class Standardized(Wrapper):
    """`inner` of ``(x - mean) / std``, with x and reconstructions of it in the units of the data.

    Its variables are those of `inner`.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    reconstructs: bool = True
    """Whether reconstructions are of x (a transcoder's are not)."""

    # Linen then keeps the name of `inner`, which may have a part called "inner" in the same scope.
    preserve_adopted_names: ClassVar[bool] = True

    def setup(self) -> None:
        nn.share_scope(self, self.inner)

    def before(self, x: Array) -> Array:
        return _standard(x, self.mean, self.std)

    def after(self, outputs: Outputs) -> Outputs:
        names = ("recon", "x", "corrupted") if self.reconstructs else ("corrupted",)
        data = {n: _natural(outputs[n], self.mean, self.std) for n in names if n in outputs}
        return {**outputs, **data}


def standardized(ae: Autoencoder, statistics: Any, where: str = "statistics") -> Autoencoder:
    """The model of data in its own units, for `ae`, which is trained on standardized data.

    The variables are those of `ae`. Losses and likelihoods remain those of standardized data. The
    result computes in float32, because bfloat16 would round data before it is standardized.

    Args:
      ae: the model.
      statistics: of `ae_jax.data.standardize.statistics_of`.
      where: their name in error messages.

    Raises:
      ValueError: `statistics` are not two lists of a finite number for each column.
    """
    columns = ae.event_shape[-1]
    parts = statistics if isinstance(statistics, Mapping) else {}
    lists: dict[str, Any] = {name: parts.get(name) for name in ("mean", "std")}
    for name, values in lists.items():
        ok = isinstance(values, list) and len(values) == columns
        ok = ok and all(type(v) in (int, float) and np.isfinite(v) for v in values)
        ok = ok and (name == "mean" or all(v > 0 for v in values))
        require(ok, f"{where}.{name}", values, f"must be {columns} finite numbers")
    mean, std = map(tuple, lists.values())
    inner = ae.module.clone(name="standard")
    module = Standardized(inner, mean, std, reconstructs=ae.target == "x")

    def of_standard(term: Term | BatchTerm) -> Term | BatchTerm:
        fn: Any = term.fn

        def standard(outputs: Outputs, batch: Batch, *rest: Any) -> Array:
            batch = {**batch, "x": _standard(batch["x"], mean, std)}
            if module.reconstructs and "recon" in outputs:
                outputs = {**outputs, "recon": _standard(outputs["recon"], mean, std)}
            value: Array = fn(outputs, batch, *rest)
            return value

        return term._replace(fn=standard)

    objective = {name: of_standard(term) for name, term in ae.objective.items()}
    return replace(
        ae,
        module=module,
        objective=objective,
        spec=None,
        exported=None,
        dtype=jnp.float32,
        output_range=Autoencoder.output_range,  # that of `ae` is of standardized data
    )


def _standard(x: Array, mean: tuple[float, ...], std: tuple[float, ...]) -> Array:
    high, low = _halves(mean)
    return ((x - high) - low) / np.array(std, np.float32)


def _natural(z: Array, mean: tuple[float, ...], std: tuple[float, ...]) -> Array:
    high, low = _halves(mean)
    return (z * np.array(std, np.float32) + low) + high


def _halves(mean: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
    """`mean` as the sum of two float32 numbers: it may be large beside the deviation."""
    high = np.array(mean, np.float32)
    return high, (np.array(mean) - high).astype(np.float32)
