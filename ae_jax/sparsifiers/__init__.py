"""Sparsifiers: how few latents of a dictionary are active. `AnySparsifier` is the closed table."""

from ae_jax.sparsifiers.code import Code, DenseCode, SparseCode
from ae_jax.sparsifiers.gated import Gated
from ae_jax.sparsifiers.jump_relu import JumpReLU
from ae_jax.sparsifiers.matching_pursuit import MatchingPursuit
from ae_jax.sparsifiers.relu import L1Sparsifier
from ae_jax.sparsifiers.sparsifier import Context, Sparsifier, Tables
from ae_jax.sparsifiers.top_k import BatchTopK, TopK

AnySparsifier = TopK | BatchTopK | JumpReLU | L1Sparsifier | Gated | MatchingPursuit

__all__ = [
    "AnySparsifier",
    "BatchTopK",
    "Code",
    "Context",
    "DenseCode",
    "Gated",
    "JumpReLU",
    "L1Sparsifier",
    "MatchingPursuit",
    "SparseCode",
    "Sparsifier",
    "Tables",
    "TopK",
]
