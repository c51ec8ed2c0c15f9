"""Dictionaries: autoencoders of one wide layer of few active latents, to interpret activations."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal

import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from ae_jax.core import Autoencoder, Batch, BatchTerm, Outputs, Term
from ae_jax.models.dictionaries.folding import folded
from ae_jax.models.dictionaries.freezing import frozen
from ae_jax.models.dictionaries.module import DictionaryModule
from ae_jax.models.dictionaries.resampling import resampled
from ae_jax.models.dictionaries.starting import started
from ae_jax.models.dictionaries.unit_rows import unit_rows
from ae_jax.sparsifiers import AnySparsifier, MatchingPursuit, TopK
from ae_jax.spec import Spec, require

Start = Literal["random", "data"]
Center = Literal["none", "mean", "median"]
Freeze = Literal["none", "decoder", "encoder"]


@dataclass(frozen=True, kw_only=True)
class Dictionary(Spec):
    """``x -> few active latents z of many -> z @ decoder + bias``, a sparse autoencoder (SAE).

    The loss is the squared error, summed over elements, in the units of the data unless
    `normalize`; and the penalty of the sparsifier. Metrics are ``l0``, the mean number of active
    latents, and ``dead``, the share of latents that have not been active for `dead_after` updates.

    * A *transcoder* predicts the column ``target`` instead of x: give its `target_dim`.
    * A *crosscoder* reads several sources at once, [B, sources, D], and reconstructs all from the
      same latents: use `sources`.
    * *Matryoshka*: the first latents alone must reconstruct too, for each of `prefixes`.

    Source: Bricken et al., Towards monosemanticity, 2023; Gao et al., Scaling and evaluating sparse
    autoencoders, 2024; Bussmann et al., Learning multi-level features with matryoshka sparse
    autoencoders, 2025; Dunefsky et al., Transcoders find interpretable LLM feature circuits, 2024;
    Lindsey et al., Sparse crosscoders for cross-layer features and model diffing, 2024.
    """

    kind: ClassVar[str] = "dictionary"

    width: int = 4096
    """The number of latents."""
    sparsifier: AnySparsifier = TopK()
    prefixes: tuple[int, ...] = ()
    """Numbers of latents, increasing, whose reconstructions have a loss too. The last is `width`.
    The loss is the mean over all."""
    sampled_prefixes: int = 0
    """Such numbers that each step draws, log-uniformly from 1 to `width`, beside `width` itself."""
    target_dim: int | None = None
    """The elements of the column ``target`` that a transcoder predicts."""
    skip: bool = False
    """Add a linear map of x to the prediction of a transcoder."""
    sources: bool = False
    """The first axis of an example is one of sources, each with its own decoder. The norm of a
    latent is the sum over sources of its norms there."""
    unit_norm: bool = True
    """Keep the decoder's rows at norm 1, and remove the part of their gradient that would change
    it. Without, or with `sources`, sparsifiers count a latent as its activation times its norm."""
    tied: bool = False
    """Use the decoder as the encoder."""
    start: Start = "random"
    """The first directions: random, or those of random training examples."""
    center: Center = "none"
    """Where the bias of the reconstruction starts: 0, the mean or the geometric median of training
    examples. Where it reconstructs x, the bias is subtracted from x first."""
    normalize: bool = False
    """Divide x by a number so that its root mean square norm is the root of its elements. The
    number is estimated from training examples and kept in the state. So for targets."""
    refine: int = 0
    """Steps of iterative thresholding (LISTA): z becomes the code of z plus the encoder's product
    with what z does not reconstruct."""
    prune: float | None = None
    """After training, a latent is active only if ``(x - recon).d + z |d|^2`` exceeds this, with its
    direction d: what it explains of x when all others stay."""
    dead_after: int = 1000
    """Updates after which a latent that was never active is dead."""
    dead_weight: float = 1 / 32
    """Of the auxiliary error: what the dead latents with the largest pre-activations make of the
    residual of the others, which gets no gradient."""
    dead_k: int | None = None
    """The number of dead latents in it; by default half the elements of an example."""
    resample_every: int = 0
    """Updates between resamplings: dead latents take the directions of the errors of examples that
    are reconstructed badly, and Adam forgets them (0: never)."""
    freeze: Freeze = "none"
    """A table that keeps its start: a control, which shows what the other table does alone."""

    def __post_init__(self) -> None:
        super().__post_init__()
        width, sparsifier = self.width, self.sparsifier
        require(width >= 1, "width", width, "must be at least 1")
        k = sparsifier.k
        needs = f"must be at least {k}, the active latents of {type(sparsifier).__name__}"
        require(k is None or k <= width, "width", width, needs)
        ok = all(a < b for a, b in zip((0, *self.prefixes), self.prefixes, strict=False))
        require(ok, "prefixes", self.prefixes, "must increase, from at least 1")
        ok = not self.prefixes or self.prefixes[-1] == width
        require(ok, "prefixes", self.prefixes, f"must end at the width, {width}")
        ok = self.sampled_prefixes >= 0 and not (self.sampled_prefixes and self.prefixes)
        needs = "must not be negative, and 0 beside prefixes: they are given or sampled"
        require(ok, "sampled_prefixes", self.sampled_prefixes, needs)
        transcodes = self.target_dim is not None
        if self.target_dim is not None:
            require(self.target_dim >= 1, "target_dim", self.target_dim, "must be at least 1")
        require(transcodes or not self.skip, "skip", True, "is for a transcoder: give target_dim")
        needs = "a transcoder has one source: remove one of the two"
        require(not (transcodes and self.sources), "sources", True, needs)
        needs = "a transcoder has no pairs of equal directions: remove one of the two"
        require(not (transcodes and self.tied), "tied", True, needs)
        for name in ("refine", "resample_every"):
            require(getattr(self, name) >= 0, name, getattr(self, name), "must not be negative")
        require(self.dead_after >= 1, "dead_after", self.dead_after, "must be at least 1")
        ok = self.dead_k is None or self.dead_k >= 1
        require(ok, "dead_k", self.dead_k, "must be at least 1")
        if isinstance(self.dead_weight, int | float):  # a sweep's is traced
            ok = self.dead_weight >= 0
            require(ok, "dead_weight", self.dead_weight, "must not be negative")
        needs = f"{type(sparsifier).__name__} codes cannot be refined: use 0"
        require(self.refine == 0 or sparsifier.refinable, "refine", self.refine, needs)
        needs = "a transcoder reconstructs something else, so that codes cannot be refined: use 0"
        require(self.refine == 0 or not transcodes, "refine", self.refine, needs)
        needs = "a transcoder's codes cannot be pruned, since they do not reconstruct x: use None"
        require(self.prune is None or not transcodes, "prune", self.prune, needs)
        kept, needs = self.freeze, "a tied dictionary has one table, which must learn: use none"
        require(kept == "none" or not self.tied, "freeze", kept, needs)
        needs = "resampling changes both tables: use none, or resample_every=0"
        require(kept == "none" or not self.resample_every, "freeze", kept, needs)
        if isinstance(sparsifier, MatchingPursuit):
            needs = "MatchingPursuit needs a tied dictionary"
            require(self.tied, "tied", self.tied, needs)
            require(self.unit_norm, "unit_norm", self.unit_norm, "MatchingPursuit needs True")

    @property
    def revives(self) -> bool:
        """Whether there is an auxiliary error of dead latents. (A sweep's weight is traced.)"""
        return not isinstance(self.dead_weight, int | float) or self.dead_weight > 0

    def _tables(self) -> tuple[str, ...]:
        """The arrays with an entry for each latent."""
        names = ("decoder", "latents/age", *self.sparsifier.starts())
        names += () if self.tied else ("encoder",)
        return names + (("encoder_bias",) if self.sparsifier.biased else ())

    def build(self, event_shape: Sequence[int]) -> Autoencoder:
        """The autoencoder for examples of `event_shape`.

        Raises `ValueError` for `sources` that are not [sources, D].
        """
        shape = tuple(event_shape)
        needs = f"event_shape={shape}: sources are [sources, D], as of ae_jax.data.stacked"
        if self.sources and len(shape) != 2:
            raise ValueError(needs)
        target = shape if self.target_dim is None else (self.target_dim,)
        columns: dict[str, tuple[int, ...]] = {"mask": (), "step": (), "axis_name": ()}
        if self.target_dim is not None:
            columns["target"] = target
        objective: dict[str, Term | BatchTerm] = {
            "error": Term(_error),
            **self.sparsifier.terms(),
            "l0": Term(_l0, None),
            "dead": BatchTerm(_dead, None),
        }
        if self.revives:
            objective["dead_error"] = Term(_dead_error, self.dead_weight)
        return Autoencoder(
            module=DictionaryModule(self, shape, target),
            objective=objective,
            event_shape=shape,
            spec=self,
            columns=columns,
            partition=dict.fromkeys(self._tables(), 0),
            target="x" if self.target_dim is None else "target",
            optimizer=self._optimizer if self.unit_norm or self.freeze != "none" else None,
            initialize=partial(started, self),
            exported=partial(folded, self, shape),
            check=_check,
            after_update=partial(resampled, self) if self.resample_every else None,
        )

    def _optimizer(self, tx: optax.GradientTransformation) -> optax.GradientTransformation:
        tx = unit_rows(tx) if self.unit_norm else tx
        return tx if self.freeze == "none" else frozen(self.freeze, tx)


def _check(columns: Mapping[str, np.ndarray], training: bool) -> None:
    """Raises `ValueError` for training examples that are all equal."""
    if training:
        for name in ("x", "target"):
            if name in columns and isinstance(columns[name], np.ndarray):
                column, first = columns[name], columns[name][:1]
                some = column[np.unique(np.linspace(0, len(column) - 1, 4096).astype(int))]
                equal = len(column) > 1 and bool((some == first).all())
                if equal and bool((column == first).all()):
                    raise ValueError(
                        f"{name} has no variance: its examples are all equal, so there is nothing "
                        "to learn"
                    )


def _error(outputs: Outputs, batch: Batch) -> Array:
    """The squared error of an example, summed; with prefixes the mean over all of them: [B]."""
    if "prefix_errors" in outputs:
        return jnp.square(outputs["prefix_errors"]).sum(2).mean(0)
    return jnp.square(outputs["error"]).sum(1)


def _dead_error(outputs: Outputs, batch: Batch) -> Array:
    return jnp.square(outputs["dead_error"]).sum(1)


def _l0(outputs: Outputs, batch: Batch) -> Array:
    active: Array = outputs["active"]
    return active


def _dead(outputs: Outputs, batch: Batch, axis_name: str | None) -> Array:
    dead: Array = outputs["dead"].mean()
    return dead
