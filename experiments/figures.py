"""The figures of a finished run, as PNG files in its directory."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from ae_jax import plots
from ae_jax.core import Autoencoder, Variables, as_floats, reconstruction, streams
from ae_jax.evaluation.batches import real_rows
from ae_jax.evaluation.latents import encode_all
from ae_jax.evaluation.reconstruction import reconstruct_all
from ae_jax.storage.runs import Run
from ae_jax.training import TrainState

SCATTERED = 5000  # more points hide one another
SHOWN = 10


def draw_run(
    run: Run,
    ae: Autoencoder,
    state: TrainState,
    test: Mapping[str, np.ndarray],
    history: Sequence[Mapping[str, Any]],
) -> list[str]:
    """Draw what the model can show.

    Loss curves; latents in the plane, and as images where they are spatial; reconstructions;
    samples and the manifold of a model with a prior; what a denoising model makes of noisy images.

    Returns a line for each figure that is skipped, with the reason.
    """
    test = real_rows(test)
    skipped = []
    parts = {
        "loss": lambda: {"loss": plots.loss_curves(history)},
        "latents": lambda: _latents(ae, state.variables, test),
        "reconstructions": lambda: _reconstructions(ae, state.variables, test),
        "samples": lambda: _samples(ae, state.variables, test),
    }
    for name, draw in parts.items():
        try:
            for file, figure in draw().items():
                plots.save(figure, run.path / "figures" / f"{file}.png")
        except ValueError as error:
            skipped.append(f"figure of {name} skipped: {error}")
    return skipped


def _latents(
    ae: Autoencoder, variables: Variables, test: Mapping[str, np.ndarray]
) -> dict[str, Figure]:
    few = {name: column[:SCATTERED] for name, column in test.items()}
    z = encode_all(ae, variables, few)
    if len(z) < 2 or not np.isfinite(z).all():
        raise ValueError("it needs two examples or more, and latents that are finite")
    figures = {"latents": plots.latent_scatter(z, few.get("label"))}
    encoded = _encode(ae, variables, few)
    if isinstance(encoded, jax.Array) and encoded.ndim == 4:
        figures["latent_images"] = plots.latent_images(np.asarray(encoded))
    return figures


def _reconstructions(
    ae: Autoencoder, variables: Variables, test: Mapping[str, np.ndarray]
) -> dict[str, Figure]:
    few = {name: column[:SHOWN] for name, column in test.items()}
    x = np.asarray(as_floats(few[ae.target]))
    recon = reconstruct_all(ae, variables, few)
    if not plots.drawn_as_image(ae.target_shape):  # drawn as lines
        x, recon = x.reshape(len(x), -1), recon.reshape(len(x), -1)
    figures = {"reconstructions": plots.reconstructions(x, recon)}
    outputs = ae.outputs(variables, few, rngs=streams(jax.random.key(0)))
    if "corrupted" in outputs and plots.drawn_as_image(ae.event_shape):
        noisy = np.asarray(outputs["corrupted"])
        denoised = reconstruct_all(ae, variables, {**few, "x": noisy})
        rows = {"noisy": noisy, "denoised": denoised, "clean": x}
        figures["denoised"] = plots.image_rows(rows)
    return figures


def _samples(
    ae: Autoencoder, variables: Variables, test: Mapping[str, np.ndarray]
) -> dict[str, Figure]:
    if ae.method("sample") is None or ae.given or not plots.drawn_as_image(ae.event_shape):
        return {}
    rngs = {"latent": jax.random.key(0)}
    drawn = jax.jit(lambda v: ae.apply(v, 100, rngs=rngs, method="sample"))(variables)
    figures = {"samples": plots.samples(np.asarray(reconstruction(drawn)))}
    one = {name: column[:1] for name, column in test.items()}
    if ae.method("prior_quantile") is not None and _encode(ae, variables, one).shape[1:] == (2,):
        grid = ae.decode(variables, jnp.asarray(plots.manifold_latents()))
        figures["manifold"] = plots.manifold(np.asarray(grid))
    return figures


def _encode(ae: Autoencoder, variables: Variables, data: Mapping[str, np.ndarray]) -> Any:
    return ae.encode(variables, data["x"], **ae.encoder_columns(data))
