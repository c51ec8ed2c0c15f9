"""The pictures of a finished run, as PNG files in its directory."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from matplotlib.figure import Figure

from ae_jax import plots
from ae_jax.core import Autoencoder, Batch, Variables, as_floats, reconstruction, streams
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
    decode = jax.jit(ae.decode)

    @jax.jit
    def encode(variables: Variables, batch: Batch) -> Any:
        return ae.encode(variables, batch["x"], **ae.encoder_columns(batch))

    def save(name: str, figure: Figure) -> None:
        plots.save(figure, run.path / "figures" / f"{name}.png")

    save("loss", plots.loss_curves(history))
    z = np.asarray(encode(variables, {k: v[:SCATTERED] for k, v in test.items()}))
    if len(z) > 1 and np.isfinite(z).all():  # a diverged run has no codes to show
        label = test.get("label")
        save("codes", plots.code_scatter(z, None if label is None else label[:SCATTERED]))
        if z.ndim == 4:
            save("code_images", plots.code_images(z))
    few = {name: column[:10] for name, column in test.items()}
    x = np.asarray(as_floats(few["x"]))
    recon = np.asarray(decode(variables, encode(variables, few)))
    shape = ae.event_shape
    pictures = len(shape) == 2 or (len(shape) == 3 and shape[2] in (1, 3))
    if not pictures:  # what cannot be shown as an image is drawn as lines
        x, recon = x.reshape(len(x), -1), recon.reshape(len(x), -1)
    save("reconstructions", plots.reconstructions(x, recon))
    if not pictures:
        return
    if ae.method("sample") is not None and not ae.given:
        rngs = {"latent": jax.random.key(0)}
        drawn = jax.jit(lambda v: ae.apply(v, 100, rngs=rngs, method="sample"))(variables)
        save("samples", plots.samples(np.asarray(reconstruction(drawn))))
    if ae.method("prior_quantile") is not None and z.shape[1:] == (2,):
        save("manifold", plots.manifold(np.asarray(decode(variables, plots.manifold_codes()))))
    outputs = ae.outputs(variables, few, rngs=streams(jax.random.key(0)))
    if "corrupted" in outputs:
        noisy = outputs["corrupted"]
        denoised = decode(variables, encode(variables, {**few, "x": noisy}))
        rows = {"noisy": noisy, "denoised": denoised, "clean": x}
        save("denoised", plots.image_rows({k: np.asarray(v) for k, v in rows.items()}))
