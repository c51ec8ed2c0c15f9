"""Figures: arrays in, a matplotlib `Figure` out, which `save` writes as PNG.

Nothing here touches pyplot or a display, so figures can be made anywhere. Images are `[N, H, W]`,
`[N, H, W, 1]` or `[N, H, W, 3]`, uint8 or floats in [0, 1]; sequences `[N, T, D]` are drawn as
images with time running down. The label of a figure says in words what it shows.
"""

from ae_jax.plots.curves import loss_curves, size_curves
from ae_jax.plots.denoising import noise_curves
from ae_jax.plots.detection import roc_curves, score_histogram
from ae_jax.plots.features import filters, label_curves, unit_histograms
from ae_jax.plots.figure import save
from ae_jax.plots.images import image_rows, reconstructions, samples
from ae_jax.plots.latents import code_images, code_scatter, manifold, manifold_codes

__all__ = [
    "code_images",
    "code_scatter",
    "filters",
    "image_rows",
    "label_curves",
    "loss_curves",
    "manifold",
    "manifold_codes",
    "noise_curves",
    "reconstructions",
    "roc_curves",
    "samples",
    "save",
    "score_histogram",
    "size_curves",
    "unit_histograms",
]
