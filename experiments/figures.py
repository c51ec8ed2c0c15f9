"""The pictures of a finished run, as PNG files in its directory."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from ae_jax import plots
from ae_jax.core import Autoencoder, as_floats
from ae_jax.models import Denoising, Variational
from ae_jax.models.denoising import corrupt
from ae_jax.storage.runs import Run
from ae_jax.training import TrainState

SCATTERED = 5000  # more points hide one another


def draw_run(
    run: Run,
    ae: Autoencoder,
    state: TrainState,
    test: Mapping[str, np.ndarray],
    history: Sequence[Mapping[str, Any]],
) -> None:
    """Reconstructions, loss curves, codes in 2-D, and as images where they are spatial; for a VAE
    prior samples and the manifold, for a denoising autoencoder noisy, denoised and clean images."""
    variables = state.variables
    encode, decode = jax.jit(ae.encode), jax.jit(ae.decode)

    def save(name: str, figure: Figure) -> None:
        plots.save(figure, run.path / "figures" / f"{name}.png")

    save("loss", plots.loss_curves(history))
    z = np.asarray(encode(variables, test["x"][:SCATTERED]))
    if len(z) > 1 and np.isfinite(z).all():  # a diverged run has no codes to show
        label = test.get("label")
        save("codes", plots.code_scatter(z, None if label is None else label[:SCATTERED]))
        if z.ndim == 4:
            save("code_images", plots.code_images(z))
    x = np.asarray(as_floats(test["x"][:10]))
    recon = np.asarray(decode(variables, encode(variables, x)))
    shape = ae.event_shape
    pictures = len(shape) == 2 or (len(shape) == 3 and shape[2] in (1, 3))
    if not pictures:  # what cannot be shown as an image is drawn as lines
        x, recon = x.reshape(len(x), -1), recon.reshape(len(x), -1)
    save("reconstructions", plots.reconstructions(x, recon))
    if not pictures:
        return
    if isinstance(ae.spec, Variational):
        prior = jax.random.normal(jax.random.key(0), (100, ae.spec.latent_dim))
        save("samples", plots.samples(np.asarray(decode(variables, prior))))
        if ae.spec.latent_dim == 2:
            grid = plots.manifold_codes()
            save("manifold", plots.manifold(np.asarray(decode(variables, grid))))
    if isinstance(ae.spec, Denoising):
        noisy = corrupt(jax.random.key(0), jnp.asarray(x), noise=ae.spec.noise, level=ae.spec.level)
        rows = {"noisy": noisy, "denoised": ae.reconstruct(variables, noisy), "clean": x}
        save("denoised", plots.image_rows({k: np.asarray(v) for k, v in rows.items()}))
