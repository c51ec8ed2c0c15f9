"""The pictures of a finished run, as PNG files in its directory."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from ae_jax import plots
from ae_jax.models import Denoising, Variational
from ae_jax.models.denoising import corrupt
from ae_jax.objective import Autoencoder, as_floats
from ae_jax.runs import Run
from ae_jax.training import TrainState

SCATTERED = 5000  # more points hide one another


def draw_run(
    run: Run,
    ae: Autoencoder,
    state: TrainState,
    test: Mapping[str, np.ndarray],
    history: Sequence[Mapping[str, Any]],
) -> None:
    """Reconstructions, loss curves, codes in 2-D; for a VAE prior samples and the manifold, for a
    denoising autoencoder noisy, denoised and clean images."""
    variables = state.variables
    encode, decode = jax.jit(ae.encode), jax.jit(ae.decode)
    x = test["x"][:10]
    recon = decode(variables, encode(variables, x))
    label = test.get("label")
    z = np.asarray(encode(variables, test["x"][:SCATTERED]))
    figures = {
        "reconstructions": plots.reconstructions(np.asarray(as_floats(x)), np.asarray(recon)),
        "loss": plots.loss_curves(history),
        "codes": plots.code_scatter(z, None if label is None else label[:SCATTERED]),
    }
    if isinstance(ae.spec, Variational):
        prior = jax.random.normal(jax.random.key(0), (100, ae.spec.code_size))
        figures["samples"] = plots.samples(np.asarray(decode(variables, prior)))
        if ae.spec.code_size == 2:
            codes = plots.manifold_codes()
            images = decode(variables, codes.reshape(-1, 2))
            figures["manifold"] = plots.manifold(np.asarray(images))
    if isinstance(ae.spec, Denoising):
        clean = as_floats(x)
        noisy = corrupt(jax.random.key(0), clean, noise=ae.spec.noise, level=ae.spec.level)
        rows = {"noisy": noisy, "denoised": ae.reconstruct(variables, noisy), "clean": clean}
        figures["denoised"] = plots.image_rows({k: np.asarray(v) for k, v in rows.items()})
    for name, figure in figures.items():
        plots.save(figure, run.path / "figures" / f"{name}.png")
