"""Rows of the Keras blog's MNIST nets (Chollet, Building autoencoders in Keras, 2016)."""

import jax
import numpy as np

from ae_jax import plots
from ae_jax.core import as_floats
from ae_jax.evaluation import latent_metrics
from ae_jax.evaluation.reconstruction import reconstruction_metrics
from ae_jax.losses import mse
from ae_jax.models.corruption import corrupt
from experiments.configs import CONFIGS
from experiments.reproductions.setup import Metrics, Row, Setup, trained

KERAS = "Keras, the same net"


def _sparse(setup: Setup, name: str, seed: int) -> Metrics:
    """Cross-entropy, and the activation of the latents relative to *simple* (of 50 epochs)."""
    bce, latents = {}, {}
    for config in ("sparse", "simple"):
        run = f"{name}-{config}"
        ae, state, last = setup.train(run, CONFIGS[config], seed)
        x = last["test"]["x"]
        bce[config] = reconstruction_metrics(ae, state.variables, x)["bce"]
        latents[config] = latent_metrics(ae, state.variables, x)
    ours = latents["sparse"]
    ratio = ours["mean_activation"] / latents["simple"]["mean_activation"]
    return {"bce": bce["sparse"], "activation over simple's": ratio, **ours}


def _conv(setup: Setup, name: str, seed: int) -> Metrics:
    """Cross-entropy; draws digits, their 4x4x8 latents as 4x32 images, and reconstructions."""
    ae, state, last = setup.train(name, CONFIGS["conv"], seed)
    x = last["test"]["x"]
    z = jax.jit(ae.encode)(state.variables, x[:10])
    plots.save(plots.latent_images(z), setup.results / "conv-latents.png")
    recon = np.asarray(jax.jit(ae.decode)(state.variables, z))
    shown = plots.reconstructions(np.asarray(as_floats(x[:10])), recon)
    plots.save(shown, setup.results / "conv-reconstructions.png")
    metrics = reconstruction_metrics(ae, state.variables, x)
    return {key: metrics[key] for key in ("bce", "squared_error")}


def _denoise(setup: Setup, name: str, seed: int) -> Metrics:
    """The squared error of the noisy image relative to that of the denoised one."""
    config = CONFIGS["denoise"]
    corruption = config.model.parts().corruption
    assert corruption is not None
    ae, state, last = setup.train(name, config, seed)
    clean = as_floats(last["test"]["x"])
    key = jax.random.key(seed)
    noisy = corrupt(key, clean, noise=corruption.noise, level=corruption.level)
    reconstruct = jax.jit(ae.reconstruct)
    parts = [reconstruct(state.variables, part) for part in np.array_split(noisy, 10)]
    denoised = np.concatenate(parts)
    rows = {"noisy": noisy[:10], "denoised": denoised[:10], "clean": clean[:10]}
    plots.save(
        plots.image_rows({k: np.asarray(v) for k, v in rows.items()}),
        setup.results / "denoise.png",
    )
    before = float(mse(noisy, clean, reduction="mean").mean())
    after = float(mse(denoised, clean, reduction="mean").mean())
    return {"times better": before / after, "mse": after, "mse of the noisy input": before}


ROWS = {
    "simple": Row(
        "MNIST, 784-32-784, 50 epochs, batch 256: BCE per pixel",
        published="0.0928",
        source=KERAS,
        reach="<= 0.0930",
        run=trained(CONFIGS["simple"], "bce", "squared_error"),
        seeds=3,
    ),
    "sparse-l1": Row(
        "MNIST, 784-32-784, L1 on the latents, 100 epochs (simple: 50): BCE per pixel",
        published="0.10 with 0.46 of the activation",
        source="Keras blog",
        reach="<= 0.100 with <= 0.46",
        run=_sparse,
        seeds=3,
    ),
    "deep": Row(
        "MNIST, 128-64-32, 100 epochs, batch 256: BCE per pixel",
        published="0.0830",
        source=KERAS,
        reach="<= 0.0830",
        run=trained(CONFIGS["deep"], "bce", "squared_error"),
        seeds=3,
    ),
    "conv": Row(
        "MNIST, convolutions 16-8-8, latents 4x4x8, 50 epochs, batch 128: BCE per pixel",
        published="0.0886",
        source=KERAS,
        reach="<= 0.0890",
        run=_conv,
    ),
    "denoise": Row(
        "MNIST, convolutions 32-32, noise 0.5 clipped, 5 epochs: squared error of the noisy image "
        "over that of the denoised one",
        published="-",
        source="Keras blog's net",
        reach=">= 5 times better",
        run=_denoise,
    ),
    "contractive": Row(
        "MNIST, 784-32-784 sigmoid latents, squared norm of the Jacobian, 20 epochs: BCE per pixel",
        published="-",
        source="-",
        reach="-",
        run=trained(CONFIGS["contractive"], "bce", "jacobian", "squared_error"),
    ),
    "overcomplete": Row(
        "MNIST, 784-1024-784, half of the input masked, 20 epochs: BCE per pixel of masked images",
        published="-",
        source="-",
        reach="-",
        run=trained(CONFIGS["overcomplete"], "loss", "squared_error"),
    ),
}
