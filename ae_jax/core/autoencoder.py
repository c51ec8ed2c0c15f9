"""What an autoencoder is here: a module that maps a batch to outputs, and terms that score them.

    batch -> module -> outputs -> sum_i weight_i(step) * mean over the batch of term_i -> loss

Everything is a pure function of its arguments. The caller applies jit, grad, vmap or pmap.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike, DTypeLike

from ae_jax.core.batch import (
    PROVIDED,
    Batch,
    Support,
    as_floats,
    checked_input,
    floats_in,
    module_columns,
    refuse_masked,
    single,
)
from ae_jax.core.objective import BatchTerm, Outputs, Term
from ae_jax.core.players import Optimizer, Player
from ae_jax.core.wrapper import method_of

Variables = Mapping[str, Any]
"""Linen's ``{"params": ..., other collections}``."""

Latents = Any
"""Any tree of arrays [B, ...]. Most models have one array."""


@dataclass(frozen=True)
class Autoencoder:
    """A variant: a Linen module and an objective. The other fields have defaults.

    The module has ``__call__(x) -> Outputs``, ``encode(x) -> latents`` and ``decode(latents) ->
    Outputs``. It may have more, which evaluation then uses:

    * ``features(x) -> [B, K]``: what probes, densities and pictures read;
    * ``log_weight(x) -> [B]``: log p(x, z) - log q(z | x) of one draw from the ``latent`` stream;
    * ``sample(n) -> Outputs``: n examples, drawn with the ``latent`` stream, maybe with ``"x"``, a
      draw of the data beside its mean;
    * ``sample_from(latents, level) -> Outputs``, of a hierarchy of latents, a tuple with the lowest
      level first: examples that keep `level` (from 1) and those above it. Levels below are drawn
      with the ``latent`` stream, or are the centers of their priors without;
    * ``posterior_kl(x) -> [B, K]``: the KL divergence of each latent to the prior, in nats;
    * ``prior_quantile(u) -> [n, K]``: latents at quantiles of the prior, for pictures;
    * ``geodesic(a, b, t) -> latents``: at a share t of the shortest path from a to b, for latents
      that do not fill R^n.
    """

    module: nn.Module
    objective: Mapping[str, Term | BatchTerm]
    event_shape: tuple[int, ...]
    """The shape of one example ``x``."""
    spec: Any = None
    """The model specification it was built from (see `ae_jax.models`), or None."""
    unit_interval: bool = False
    """Whether its data must lie in [0, 1], as a Bernoulli likelihood needs (see `support`)."""
    support: Support = "real"
    """The values that its data may have."""
    output_range: tuple[float, float] = (-math.inf, math.inf)
    """The values that reconstructions can have, as an activation of the output limits them."""
    dtype: DTypeLike = jnp.float32
    """What the module computes in. Parameters, untrained state, outputs and losses stay float32."""
    columns: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """What ``module.__call__`` reads beside x, as keywords with their event shapes: columns of the
    data, or what the step provides: ``mask`` [B] (None where nothing is padded), ``step`` [] (for
    schedules inside the module) and ``axis_name`` (None outside pmap and shard_map). ``length``
    is None where the data has none."""
    integers: tuple[str, ...] = ("label",)
    """The columns that hold integers, such as classes."""
    supervised: tuple[str, ...] = ()
    """The columns that only the objective reads, such as labels: in training, and in test rows.
    Nothing else that scores or evaluates examples sees them."""
    given: tuple[str, ...] = ()
    """The columns that ``encode``, ``decode``, ``log_weight`` and ``sample`` take too, as those of
    conditional models do. ``encode`` and ``log_weight`` also take ``length`` if the module reads
    it."""
    target: str = "x"
    """The column that reconstructions are of (a transcoder's is not ``x``)."""
    partition: Mapping[str, int] = field(default_factory=dict)
    """The axis of each array that several devices may share, by the end of its path:
    ``{"decoder": 0}``. So are its averages and the optimizer's arrays of that name. Without, every
    device holds it in full."""
    players: Mapping[str, Player] = field(default_factory=dict)
    """Beside the main one (see `Player`)."""
    optimizer: Optimizer | None = None
    """What the run's optimizer becomes for this model: constraints, other rates, ..."""
    at_most_examples: Mapping[str, int] = field(default_factory=dict)
    """Numbers that must not exceed that of the training examples, by the names of their options:
    ``{"pseudo_inputs": 500}``."""
    check: Callable[[Mapping[str, np.ndarray], bool], None] | None = None
    """``(columns, training)``: raises `ValueError`, one line, for values that cannot work, such as
    a class that does not exist. `columns` may lack some; `training` is whether they are the
    training set."""
    initialize: Callable[[Variables, Batch, Array], Variables] | None = None
    """``(variables, batch, key) -> variables``, pure: what a fresh start takes from the data, such
    as a mean or a codebook. `batch` is a sample of the training examples."""
    exported: Callable[[Variables], tuple["Autoencoder", Variables]] | None = None
    """``variables -> (autoencoder, variables)``: the same function of x for inference alone, which
    is exported instead, such as one with its statistics folded into its weights."""
    after_update: Callable[..., Any] | None = None
    """``(state, batch, key, axis_name) -> state``, pure: unit-norm rows, revival of dead units. It
    runs in the compiled step after each update, and is undone with it where that is skipped."""

    def __post_init__(self) -> None:
        if self.unit_interval and self.support == "real":
            object.__setattr__(self, "support", "unit_interval")
        object.__setattr__(self, "unit_interval", self.support in ("unit_interval", "bytes"))
        for name, term in self.objective.items():
            if term.player and term.player not in self.players:
                raise ValueError(
                    f"term {name!r} names the player {term.player!r}, which players lacks: "
                    f"it has {sorted(self.players) or 'none'}"
                )
        for name in self.players:
            if all(term.player != name for term in self.objective.values()):
                raise ValueError(f"the player {name!r} has no term: name it in one, or remove it")
        if missing := [name for name in self.given if name not in self.columns]:
            raise ValueError(f"given={missing[0]!r}: name it in columns too, with its shape")
        if self.target not in ("x", *self.columns):
            raise ValueError(f"target={self.target!r}: name it in columns too, with its shape")

    @property
    def target_shape(self) -> tuple[int, ...]:
        """The shape of one reconstruction."""
        return self.event_shape if self.target == "x" else tuple(self.columns[self.target])

    @property
    def reads(self) -> tuple[str, ...]:
        """The columns of the data that the module needs beside x."""
        return tuple(name for name in self.columns if name not in (*PROVIDED, "length"))

    def apply(self, variables: Variables, *inputs: Any, **options: Any) -> Any:
        """``module.apply``, computed in `dtype`, with float32 outputs.

        Only parameters and inputs are cast: averages and counters stay exact. Collections that
        ``mutable`` returns keep the dtypes that they had.
        """
        if self.dtype == jnp.float32:
            return self.module.apply(variables, *inputs, **options)
        params = _cast(variables["params"], jnp.float32, self.dtype)
        exact = {name: options[name] for name in ("mask",) if name in options}  # it is counted
        inputs, options = _cast((inputs, options), jnp.float32, self.dtype)
        options |= exact
        outputs = self.module.apply({**variables, "params": params}, *inputs, **options)
        if not options.get("mutable"):
            return _cast(outputs, self.dtype, jnp.float32)
        outputs, collections = outputs
        kept = {
            name: jax.tree.map(lambda new, old: new.astype(old.dtype), tree, variables[name])
            if name in variables
            else tree
            for name, tree in collections.items()
        }
        return _cast(outputs, self.dtype, jnp.float32), kept

    def method(self, name: str) -> Any:
        """The module's method `name`, or None where it has none (a wrapper has its inner's)."""
        return method_of(self.module, name)

    def outputs(
        self,
        variables: Variables,
        batch: Batch,
        *,
        rngs: Mapping[str, Array] | None = None,
        step: ArrayLike = 0,
    ) -> Any:
        """What the module makes of a batch: without noise, or with that of the streams in `rngs`.

        Raises `ValueError` for a column that the model reads and the batch lacks, and as `encode`.
        """
        checked_input(batch["x"], self.event_shape, unit_interval=self.unit_interval)
        batch = floats_in(batch)
        columns = module_columns(self.columns, batch, step)
        return self.apply(variables, batch["x"], **columns, rngs=dict(rngs or {}))

    def encode(self, variables: Variables, x: ArrayLike, **columns: Any) -> Latents:
        """Latents of `x` (uint8 pixels, or floats as in training), without noise: [B, ...].

        `columns` are those that the model is `given`, and ``length`` where it reads that.

        Raises `ValueError` if `x` is not ``[B, *event_shape]``, leaves [0, 1] where the model needs
        that, or a column is missing; `TypeError` for integers other than uint8 and masked arrays.
        """
        x, columns = self._inputs(x, columns)
        return self._call("encode", variables, x, **columns)

    def decode(self, variables: Variables, latents: Latents, **given: Any) -> Array:
        """Reconstructions of `latents`, in the units of the data: [B, *target_shape].

        Raises `ValueError` if a column is missing, `TypeError` for masked arrays.
        """
        given = self._given(given)
        jax.tree.map(lambda leaf: refuse_masked(leaf, "latents"), latents)
        latents = jax.tree.map(single, latents)
        return reconstruction(self._call("decode", variables, latents, **given))

    def reconstruct(self, variables: Variables, x: ArrayLike, **columns: Any) -> Array:
        """``decode(encode(x))``, without noise: [B, *target_shape]."""
        given = {name: columns[name] for name in self.given if name in columns}
        return self.decode(variables, self.encode(variables, x, **columns), **given)

    def features(self, variables: Variables, x: ArrayLike, **columns: Any) -> Array:
        """What probes, densities and pictures read: [B, K].

        The module's own ``features`` if it has them, else its latents, flattened.
        """
        if self.method("features") is None:
            leaves = jax.tree.leaves(self.encode(variables, x, **columns))
            return jnp.concatenate([leaf.reshape(len(leaf), -1) for leaf in leaves], axis=1)
        x, columns = self._inputs(x, columns)
        return jnp.asarray(self.apply(variables, x, **columns, method="features"))

    def encoder_columns(self, batch: Batch) -> dict[str, Any]:
        """Those columns of `batch` that ``encode`` takes."""
        names = (*self.given, *(("length",) if "length" in self.columns else ()))
        return {name: batch[name] for name in names if name in batch}

    def _call(self, name: str, variables: Variables, *inputs: Any, **columns: Any) -> Any:
        if self.method(name) is None:
            kind = type(self.module).__name__
            raise ValueError(f"the module {kind} has no method {name!r}: define it to use this")
        return self.apply(variables, *inputs, **columns, method=name)

    def _inputs(self, x: ArrayLike, columns: Mapping[str, Any]) -> tuple[Array, dict[str, Any]]:
        x = as_floats(checked_input(x, self.event_shape, unit_interval=self.unit_interval))
        length = columns.get("length")
        rest = {name: column for name, column in columns.items() if name != "length"}
        given = self._given(rest)
        if length is not None and "length" not in self.columns:
            raise ValueError("length: this model does not read sequences of several lengths")
        return x, given if length is None else {**given, "length": jnp.asarray(length)}

    def _given(self, columns: Mapping[str, Any]) -> dict[str, Any]:
        for name in self.given:
            if columns.get(name) is None:
                raise ValueError(f"the model reads {name!r}, which is missing: give {name}=")
        if unknown := [name for name in columns if name not in self.given]:
            takes = ", ".join(self.given) or "no columns"
            raise ValueError(f"{unknown[0]}=: encode and decode of this model take {takes}")
        for name in self.given:
            refuse_masked(columns[name], name)
            dtype = jnp.result_type(columns[name])
            whole = jnp.issubdtype(dtype, jnp.integer) and dtype != jnp.uint8
            if name in self.integers and not whole:
                raise TypeError(f"{name} has dtype {dtype}: use {name}.astype(np.int32)")
        if self.check is not None:  # a look at an array of JAX would wait for the device
            arrays = {n: np.asarray(c) for n, c in columns.items() if not isinstance(c, Array)}
            self.check(arrays, False)
        return {name: as_floats(columns[name]) for name in self.given}


def reconstruction(outputs: Outputs) -> Array:
    """The reconstruction in the units of the data: ``recon``, or ``sigmoid(logits)``.

    Raises `ValueError` where the outputs have neither.
    """
    if "recon" not in outputs and "logits" not in outputs:
        raise ValueError(
            f"the module's outputs have neither 'recon' nor 'logits', only {', '.join(outputs)}"
        )
    return outputs["recon"] if "recon" in outputs else jax.nn.sigmoid(outputs["logits"])


def _cast(tree: Any, source: DTypeLike, target: DTypeLike) -> Any:
    """`tree` with its arrays of dtype `source` as `target`."""

    def one(leaf: Any) -> Any:
        return leaf.astype(target) if getattr(leaf, "dtype", None) == source else leaf

    return jax.tree.map(one, tree)
