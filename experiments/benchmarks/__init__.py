"""The benchmarked nets, each with the batch size for our code and for other libraries."""

from typing import NamedTuple

from ae_jax.models import Convolutional, ImportanceWeighted, Model, Vanilla, Variational
from ae_jax.networks import MLP, RNN, ConvNet


class Net(NamedTuple):
    """A benchmarked net."""

    model: Model
    batch: int
    images: int = 60_000
    """Images of 28x28 per epoch."""


NETS = {
    "simple": Net(Vanilla(latent_dim=32), 256),
    "deep": Net(Vanilla(network=MLP(widths=(128, 64)), latent_dim=32), 256),
    "hinton": Net(Vanilla(network=MLP(widths=(1000, 500, 250)), latent_dim=30), 256),
    "vae": Net(Variational(network=MLP(widths=(512,)), latent_dim=2), 128),
    "vae16": Net(Variational(network=MLP(widths=(512,)), latent_dim=16), 128),
    "iwae5": Net(ImportanceWeighted(network=MLP(widths=(512,)), latent_dim=16, samples=5), 128),
    "conv": Net(Convolutional(network=ConvNet(filters=(16, 8, 8), odd="valid")), 128),
    "conv256": Net(Convolutional(network=ConvNet(filters=(64, 128), bottleneck=256)), 128, 6_000),
    "lstm": Net(Vanilla(network=RNN(widths=(100, 30)), latent_dim=None), 128),
}
MODES = ("scan", "step", "pmap", "sharded", "stream", "records", "sweep")
"""scan: an epoch is one compiled loop over data on the device, as in `fit`. step: one call and one
transfer per batch. pmap: the step over several devices. sharded: the loop over several devices.
stream: the loop, with images streamed from a memory-mapped file. records: the loop, while MNIST's
PNG files are decoded (as prepared by TFDS in $AE_JAX_DATA). sweep: `REPLICAS` seeds in one program;
the images of all seeds count."""
REPLICAS = 8
