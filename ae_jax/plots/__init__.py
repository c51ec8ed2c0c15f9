"""Figures: functions from arrays to a matplotlib `Figure`, which `save` writes as PNG.

Neither pyplot nor a display is needed. Images are `[N, H, W]`, `[N, H, W, 1]` or `[N, H, W, 3]`,
uint8 or floats in [0, 1]. Sequences `[N, T, D]` are drawn as images with time from top to bottom.
The label of a figure describes its content.
"""

from ae_jax.plots.curves import gradient_curves, loss_curves, rate_distortion, size_curves
from ae_jax.plots.denoising import noise_curves
from ae_jax.plots.detection import roc_curves, score_histogram
from ae_jax.plots.dictionaries import cosine_histogram, density_histogram
from ae_jax.plots.features import filters, label_curves, unit_histograms
from ae_jax.plots.figure import save
from ae_jax.plots.images import drawn_as_image, image_rows, reconstructions, samples
from ae_jax.plots.latents import latent_images, latent_scatter, manifold, manifold_latents

__all__ = [
    "cosine_histogram",
    "density_histogram",
    "drawn_as_image",
    "filters",
    "gradient_curves",
    "image_rows",
    "label_curves",
    "latent_images",
    "latent_scatter",
    "loss_curves",
    "manifold",
    "manifold_latents",
    "noise_curves",
    "rate_distortion",
    "reconstructions",
    "roc_curves",
    "samples",
    "save",
    "score_histogram",
    "size_curves",
    "unit_histograms",
]
