"""The base class of sparsifiers: how a dictionary's activations become few."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import flax.linen as nn
from jax import Array, lax
from jax.typing import ArrayLike

from ae_jax.core import Term
from ae_jax.sparsifiers.code import Code
from ae_jax.spec import Spec, require


class Tables(NamedTuple):
    """The parameters of a dictionary of W latents."""

    encoder: Array
    """[W, D], one row for each latent."""
    bias: Array
    """[W], of the encoder."""
    decoder: Array
    """[W, D'], one row for each latent."""
    norms: Array | None
    """[W], the norms of the decoder's rows. None where they are 1."""

    def pre(self, x: Array) -> Array:
        """``encoder @ x + bias`` of x [B, D]: [B, W]."""
        return lax.dot_general(x, self.encoder, (((1,), (1,)), ((), ()))) + self.bias


class Context(NamedTuple):
    """What a sparsifier may need beside the input."""

    rows: Array
    """[B], 1 for a real row, 0 for padding."""
    step: Array
    axis_name: str | None
    last: bool = True
    """Whether the code is final: those that are refined further tune no coefficient."""


class Sparsifier(Spec):
    """How few latents of a dictionary are active, and what that costs. A subclass is a spec.

    Its module has two methods:

    * ``__call__(x, tables, context) -> (code, outputs)``: the code of inputs x [B, D], and what
      `terms` read of the module's outputs beside ``"l0"``;
    * ``activate(pre, tables, context) -> (code, outputs)``: the same of pre-activations [B, W],
      unless `refinable` is False.
    """

    biased: ClassVar[bool] = True
    """Whether the encoder has a bias."""
    refinable: ClassVar[bool] = True
    """Whether a code can be refined (see `Dictionary.refine`)."""

    @property
    def k(self) -> int | None:
        """The number of active latents, if it is given."""
        return None

    def starts(self) -> Mapping[str, ArrayLike]:
        """Where the module's parameters with an entry for each latent start."""
        return {}

    def module(self, width: int) -> nn.Module:
        """The module of a dictionary of `width` latents."""
        raise NotImplementedError

    def terms(self) -> Mapping[str, Term]:
        """Terms of the objective beside the error of the reconstruction."""
        return {}


@dataclass(frozen=True, kw_only=True)
class Counted(Sparsifier):
    """A sparsifier with a given number of active latents, k."""

    active: int = 32
    """k: the most active latents, their mean number over a batch, or the number of selections."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.active >= 1, "active", self.active, "must be at least 1")

    @property
    def k(self) -> int:
        """See `Sparsifier`."""
        return self.active


class SparsifierModule(nn.Module):
    """Activations are a function of the pre-activations."""

    width: int

    def __call__(
        self, x: Array, tables: Tables, context: Context
    ) -> tuple[Code, Mapping[str, Array]]:
        return self.activate(tables.pre(x), tables, context)

    def activate(
        self, pre: Array, tables: Tables, context: Context
    ) -> tuple[Code, Mapping[str, Array]]:
        raise NotImplementedError


def sizes_of(z: Array, tables: Tables) -> Array:
    """``z_j * norm of decoder row j``: how much each latent adds to a reconstruction, [B, W]."""
    return z if tables.norms is None else z * tables.norms
