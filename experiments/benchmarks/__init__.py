"""The benchmarked nets, each with the batch size for our code and for other libraries."""

from typing import NamedTuple

from ae_jax.models import (
    Convolutional,
    Dictionary,
    ImportanceWeighted,
    Model,
    Vanilla,
    Variational,
)
from ae_jax.networks import MLP, RNN, ConvNet
from ae_jax.sparsifiers import TopK

TORCH = ("torch", "torch-compile", "torch-flush", "torch-bfloat16")
DICTIONARIES = ("torch-dictionary", "sae-lens", "sparsify")


class Net(NamedTuple):
    """A benchmarked net."""

    model: Model
    batch: int
    images: int = 60_000
    """Examples per epoch."""
    peers: tuple[str, ...] = (*TORCH, "keras")
    """The other libraries that have it."""
    shape: tuple[int, ...] = (28, 28, 1)
    """Of an example: images, or vectors of random normal numbers."""


def _dictionary(width: int) -> Net:
    model = Dictionary(width=width, sparsifier=TopK(active=25))
    return Net(model, 1024, 10_240, DICTIONARIES, (768,))


NETS = {
    "simple": Net(Vanilla(latent_dim=32), 256),
    "deep": Net(Vanilla(network=MLP(widths=(128, 64)), latent_dim=32), 256),
    "hinton": Net(Vanilla(network=MLP(widths=(1000, 500, 250)), latent_dim=30), 256),
    "vae": Net(Variational(network=MLP(widths=(512,)), latent_dim=2), 128, peers=TORCH),
    "vae16": Net(Variational(network=MLP(widths=(512,)), latent_dim=16), 128, peers=("pythae",)),
    "iwae5": Net(
        ImportanceWeighted(network=MLP(widths=(512,)), latent_dim=16, samples=5),
        128,
        peers=("pythae",),
    ),
    "conv": Net(Convolutional(network=ConvNet(filters=(16, 8, 8), odd="valid")), 128),
    "conv256": Net(Convolutional(network=ConvNet(filters=(64, 128), bottleneck=256)), 128, 6_000),
    "lstm": Net(Vanilla(network=RNN(widths=(100, 30)), latent_dim=None), 128),
    "dictionary": _dictionary(4096),
    "dictionary-16k": _dictionary(16_384),
    "dictionary-64k": _dictionary(65_536),
}
MODES = ("scan", "step", "pmap", "sharded", "stream", "records", "sweep")
"""scan: an epoch is one compiled loop over data on the device, as in `fit`. step: one call and one
transfer per batch. pmap: the step over several devices. sharded: the loop over several devices.
stream: the loop, with images streamed from a memory-mapped file. records: the loop, while MNIST's
PNG files are decoded (as prepared by TFDS in $AE_JAX_DATA). sweep: `REPLICAS` seeds in one program;
the images of all seeds count."""
REPLICAS = 8
