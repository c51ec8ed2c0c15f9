"""Test error against latent size: dense and convolutional nets, and PCA, on three data sets."""

from collections.abc import Mapping

from ae_jax import plots
from ae_jax.core import as_floats
from ae_jax.evaluation import fit_pca
from ae_jax.evaluation.reconstruction import reconstruction_metrics
from ae_jax.losses import mse
from ae_jax.models import Vanilla
from ae_jax.networks import MLP, ConvNet, Network
from experiments.config import Config, Data, Train
from experiments.reproductions.setup import Metrics, Row, Setup

SETS = ("mnist", "fashion_mnist", "cifar10")
SIZES = (2, 4, 8, 16, 32, 64, 128)
FEWER = (2, 8, 32, 128)  # on the other sets
NETWORKS: dict[str, Network] = {
    "dense": MLP(widths=(512, 256)),
    "conv": ConvNet(filters=(32,), convs=2, up="transpose"),
}
EPOCHS = {"dense": 10, "conv": 1}
BATCH = {"dense": 128, "conv": 64}


def _config(data: str, net: str, size: int) -> Config:
    model = Vanilla(
        network=NETWORKS[net],
        latent_dim=size,
        latent_activation="linear",
        loss="mse",
        output_activation="sigmoid",
    )
    settings = Train(
        epochs=EPOCHS[net], batch_size=BATCH[net], schedule="cosine", checkpoint_every=1
    )
    return Config(model=model, data=Data(name=data), train=settings)


def _sizes(setup: Setup, name: str, seed: int) -> Metrics:
    """Squared error per element by "data net size"; draws the curves of each data set.

    The first metric is the smallest ratio of PCA's error to that of a net, on MNIST up to size 32.
    """
    metrics: Metrics = {}
    for data in SETS:
        train, test = (setup.data(data, split)["x"] for split in ("train", "test"))
        x = as_floats(test)
        sizes = SIZES if data == "mnist" else FEWER
        for size in sizes[:1] if setup.quick else sizes:
            pca = fit_pca(train, size)
            of_pca = mse(pca.decode(pca.encode(x)), x, reduction="mean")
            metrics[f"{data} PCA {size}"] = float(of_pca.mean())
            for net in NETWORKS:
                run = f"{name}-{data}-{net}-{size}"
                ae, state, _ = setup.train(run, _config(data, net, size), seed)
                error = reconstruction_metrics(ae, state.variables, test)["mse"]
                metrics[f"{data} {net} {size}"] = error
        curves = plots.size_curves(_curves(metrics, data))
        plots.save(curves, setup.results / f"{name}-{data}.png")
    advantage = min(
        metrics[f"mnist PCA {size}"] / metrics[f"mnist {net} {size}"]
        for net in NETWORKS
        for size in SIZES
        if size <= 32 and f"mnist {net} {size}" in metrics
    )
    return {"PCA's error over the worse net's": advantage, **metrics}


def _curves(metrics: Mapping[str, float], data: str) -> dict[str, dict[int, float]]:
    curves: dict[str, dict[int, float]] = {net: {} for net in ("PCA", *NETWORKS)}
    for key, error in metrics.items():
        if key.startswith(f"{data} "):
            _, net, size = key.split()
            curves[net][int(size)] = error
    return curves


def _page(metrics: Mapping[str, list[float]]) -> str:
    lines = ["### Test squared error per element against latent size", ""]
    lines += ["| data | net | " + " | ".join(map(str, SIZES)) + " |"]
    lines += ["| --- " * (2 + len(SIZES)) + "|"]
    first = {key: values[0] for key, values in metrics.items()}
    for data in SETS:
        for net, curve in _curves(first, data).items():
            cells = [f"{curve[size]:.4f}" if size in curve else "" for size in SIZES]
            lines.append(f"| {data} | {net} | " + " | ".join(cells) + " |")
    lines += ["", *(f"![{data}](dense-vs-conv-{data}.png)" for data in SETS)]
    return "\n".join(lines) + "\n"


ROWS = {
    "dense-vs-conv": Row(
        "MNIST, Fashion-MNIST, CIFAR-10; 2 to 128 latents: dense 512-256 for 10 epochs, two "
        "convolutions of 32 and a pool for 1: squared error per element",
        published="-",
        source="-",
        reach="both below PCA on MNIST up to 32 latents",
        run=_sizes,
        shown=1,
        page=_page,
    ),
}
