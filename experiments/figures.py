"""Draw the figures of a finished run as PNG files in its directory."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from ae_jax import plots
from ae_jax.core import Autoencoder, Variables, as_floats, reconstruction, streams
from ae_jax.data.real import blanked, counted, drawn_range
from ae_jax.evaluation.conditions import shown_conditions
from ae_jax.evaluation.latents import encode_all
from ae_jax.evaluation.reconstruction import reconstruct_all
from ae_jax.storage.runs import Run
from ae_jax.training import TrainState

SCATTERED = 5000  # points of a scatter plot; more would overlap
SHOWN = 10  # examples in a figure


def draw_run(
    run: Run,
    ae: Autoencoder,
    state: TrainState,
    test: Mapping[str, np.ndarray],
    history: Sequence[Mapping[str, Any]],
) -> list[str]:
    """Draw the figures that suit the model; return a line with the reason for each skipped one.

    The figures are the loss curves; the latents in the plane, and as images if they are spatial;
    reconstructions; denoised images of a denoising model; samples and the manifold of a model with
    a prior.
    """
    test = counted(test)
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
    examples = {name: column[:SCATTERED] for name, column in test.items()}
    z = encode_all(ae, variables, examples)
    if len(z) < 2 or not np.isfinite(z).all():
        raise ValueError("it needs at least two examples, and finite latents")
    figures = {"latents": plots.latent_scatter(z, examples.get("label"))}
    encoded = _encode(ae, variables, examples)
    if isinstance(encoded, jax.Array) and encoded.ndim == 4:
        figures["latent_images"] = plots.latent_images(np.asarray(encoded))
    return figures


def _reconstructions(
    ae: Autoencoder, variables: Variables, test: Mapping[str, np.ndarray]
) -> dict[str, Figure]:
    examples = {name: column[:SHOWN] for name, column in test.items()}
    x = blanked(np.asarray(as_floats(examples[ae.target])), examples)
    recon = blanked(reconstruct_all(ae, variables, examples), examples)
    if not plots.drawn_as_image(ae.target_shape):  # drawn as lines
        x, recon = x.reshape(len(x), -1), recon.reshape(len(x), -1)
    figures = {"reconstructions": plots.reconstructions(x, recon)}
    outputs = ae.outputs(variables, examples, rngs=streams(jax.random.key(0)))
    if "corrupted" in outputs and plots.drawn_as_image(ae.event_shape):
        noisy = np.asarray(outputs["corrupted"])
        denoised = reconstruct_all(ae, variables, {**examples, "x": noisy})
        rows = {"noisy": noisy, "denoised": denoised, "clean": x}
        figures["denoised"] = plots.image_rows(rows, limits=drawn_range(test))
    return figures


def _samples(
    ae: Autoencoder, variables: Variables, test: Mapping[str, np.ndarray]
) -> dict[str, Figure]:
    if ae.method("sample") is None or not plots.drawn_as_image(ae.event_shape):
        return {}
    rngs = {"latent": jax.random.key(0)}
    given = shown_conditions(ae, test, 100) if ae.given else {}

    @jax.jit
    def draw(variables: Variables) -> Any:
        columns = {name: as_floats(column) for name, column in given.items()}
        return ae.apply(variables, 100, rngs=rngs, method="sample", **columns)

    outputs = draw(variables)
    limits = drawn_range(test)
    figures = {"samples": plots.samples(np.asarray(reconstruction(outputs)), limits=limits)}
    example = {name: column[:1] for name, column in test.items()}
    has_prior = ae.method("prior_quantile") is not None
    if has_prior and not ae.given and _encode(ae, variables, example).shape[1:] == (2,):
        grid = ae.decode(variables, jnp.asarray(plots.manifold_latents()))
        figures["manifold"] = plots.manifold(np.asarray(grid), limits=limits)
    return figures


def _encode(ae: Autoencoder, variables: Variables, data: Mapping[str, np.ndarray]) -> Any:
    return ae.encode(variables, data["x"], **ae.encoder_columns(data))
