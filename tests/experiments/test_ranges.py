"""Train's table and pictures know the range of the data."""

from dataclasses import replace

import numpy as np
import optax
import pytest

from ae_jax.models import Vanilla, Variational
from ae_jax.networks import MLP, RNN
from experiments.configs import CONFIGS
from experiments.figures import _reconstructions, _samples
from experiments.train import _table

RNG = np.random.default_rng(0)
IMAGES = RNG.uniform(-1, 1, (40, 8, 8, 1)).astype(np.float32)
SPEC = Variational(network=MLP(widths=(4,)), latent_dim=2, likelihood="gaussian")


def table(numpy_state, spec, train, test):
    """The cells of the table by the name of their row, and the lines below."""
    ae = spec.build(train["x"].shape[1:])
    last = dict.fromkeys(("loss", *ae.objective), 1.0)
    config = replace(CONFIGS["digits"], model=spec)
    state = numpy_state(ae, optax.sgd(0.1))
    drawn, lines = _table(config, ae, state, train, test, last)
    columns = [list(column.cells) for column in drawn.columns]
    return {name: cells for name, *cells in zip(*columns, strict=True)}, lines


def test_a_table_has_no_psnr_and_a_line(numpy_state):
    x = (RNG.normal(size=(40, 6)) * 100).astype(np.float32)
    rows, lines = table(numpy_state, Vanilla(latent_dim=2, loss="mse"), {"x": x}, {"x": x})
    assert "PSNR, dB" not in rows and "SSIM" not in rows
    assert all(rows["squared error, per element"])  # ours, and that of PCA
    assert any(line.startswith("no better than predicting the mean") for line in lines)


def test_images_have_psnr_and_pictures_of_their_own_range(numpy_state):
    rows, _ = table(numpy_state, SPEC, {"x": IMAGES}, {"x": IMAGES[:20]})
    ours, pca = map(float, rows["PSNR, dB"])
    errors = map(float, rows["squared error, per element"])
    for psnr, error in zip((ours, pca), errors, strict=True):
        assert psnr == pytest.approx(10 * np.log10(4 / error), rel=1e-3)
    assert "SSIM" in rows
    ae = SPEC.build((8, 8, 1))
    variables = numpy_state(ae, optax.sgd(0.1)).variables
    figures = _samples(ae, variables, {"x": IMAGES})
    for name in ("samples", "manifold"):
        (image,) = figures[name].axes[0].images
        np.testing.assert_allclose(image.get_clim(), (IMAGES.min(), IMAGES.max()))
    shown = _reconstructions(ae, variables, {"x": IMAGES})["reconstructions"].axes[0].images[0]
    np.testing.assert_allclose(shown.get_clim(), (IMAGES[:10].min(), IMAGES[:10].max()))


@pytest.mark.slow
def test_padded_series_are_compared_with_pca(numpy_state):
    cells, spec = [], Vanilla(network=RNN(widths=(3,)), latent_dim=2, loss="mse")
    for fill in (0.0, 50.0):
        x = np.random.default_rng(1).normal(size=(30, 5, 2)).astype(np.float32)
        x[:, 3:] = fill
        data = {"x": x, "length": np.full(30, 3, np.int32), "mask": np.arange(30) % 3 > 0}
        cells.append(table(numpy_state, spec, data, data))
    assert cells[0] == cells[1]
    assert all(map(float, cells[0][0]["squared error, per element"]))
