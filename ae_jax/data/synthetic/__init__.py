"""Data with known features, regenerated from a specification: the ground truth of dictionaries.

``SynthSAE().build(seed).data(length)`` is data for `ae_jax.training.fit`, computed on the device;
the law also has the true directions and, row by row, the true activations.
"""

from ae_jax.data.synthetic.law import FeatureSpec, Law
from ae_jax.data.synthetic.matryoshka_toy import MatryoshkaToy
from ae_jax.data.synthetic.superposition import Superposition
from ae_jax.data.synthetic.synth_sae import SynthSAE
from ae_jax.data.synthetic.tree import Forest

__all__ = ["FeatureSpec", "Forest", "Law", "MatryoshkaToy", "Superposition", "SynthSAE"]
