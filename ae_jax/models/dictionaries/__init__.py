"""Dictionaries: sparse autoencoders, transcoders and crosscoders of activations."""

from ae_jax.models.dictionaries.dictionary import Dictionary

__all__ = ["Dictionary"]
