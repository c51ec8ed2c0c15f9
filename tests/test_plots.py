"""What is drawn is read back from the figures' artists and compared with the arrays."""

import os
import subprocess
import sys
from statistics import NormalDist

import numpy as np
import pytest
from matplotlib.colors import to_hex
from PIL import Image

from ae_jax import plots
from ae_jax.plots.figure import PALETTE


def images(n=12, shape=(6, 5), *, seed=0):
    return np.random.default_rng(seed).uniform(size=(n, *shape)).astype(np.float32)


def codes(n=20, size=2, *, seed=0):
    return np.random.default_rng(seed).normal(size=(n, size)) * np.arange(1, size + 1)


def metrics(epochs=5, **terms):
    """Rows as a run logs them: train and test in turn, the test's terms twice the train's."""
    return [
        {"step": 10 * epoch, "epoch": epoch, "split": split, "images_per_second": 1e4}
        | {name: factor * values[epoch - 1] for name, values in terms.items()}
        for epoch in range(1, epochs + 1)
        for split, factor in (("train", 1), ("test", 2))
    ]


def shown(ax):
    """The array of the one image in ax, with NaN where nothing is drawn."""
    (image,) = ax.images
    return np.ma.filled(image.get_array(), np.nan)


def place(ax, row, column, shape):
    """The picture in a place of a mosaic of small images, whose gaps are one pixel."""
    h, w = shape
    return shown(ax)[row * (h + 1) :, column * (w + 1) :][:h, :w]


def texts(ticks):
    return [tick.get_text() for tick in ticks]


X, LABEL = images(20, (28, 28, 1)), np.arange(20) % 10
NAMES = [f"a long class name {k}" for k in range(10)]
TERMS = {"loss": 1 / np.arange(1, 6), "reconstruction": np.ones(5), "kl": np.arange(1.0, 6.0)}
NOISE = {
    "PSNR (dB)": {
        kind: {0.5: {"noisy": 9.0, "model": 15.0}, 0.1: {"noisy": 20.0, "model": 19.0}}
        for kind in ("gaussian", "salt_and_pepper")
    }
}
FIGURES = {
    "images": lambda: plots.reconstructions(X, X[::-1], labels=LABEL),
    "one image": lambda: plots.reconstructions(X, X[::-1], count=1),
    "colors": lambda: plots.reconstructions(images(3, (8, 8, 3)), images(3, (8, 8, 3), seed=1)),
    "sequences": lambda: plots.reconstructions(images(4, (40, 3)), images(4, (40, 3), seed=1)),
    "vectors": lambda: plots.reconstructions(X[:7, 0, :, 0], X[:7, 1, :, 0], labels=NAMES[:7]),
    "rows": lambda: plots.image_rows({"noisy": X, "denoised": X, "clean": X}, title="denoising"),
    "samples": lambda: plots.samples(X, columns=6),
    "manifold": lambda: plots.manifold(images(400, (28, 28))),
    "spatial codes": lambda: plots.latent_images(images(20, (4, 4, 8)), labels=LABEL),
    "scatter": lambda: plots.latent_scatter(codes(size=8), LABEL, class_names=NAMES),
    "strips": lambda: plots.latent_scatter(codes(size=1), LABEL, class_names=NAMES),
    "histogram": lambda: plots.latent_scatter(codes(size=1)),
    "color scale": lambda: plots.latent_scatter(codes(), codes()[:, 0]),
    "loss curves": lambda: plots.loss_curves(metrics(**TERMS), unit="nats per example"),
    "noise curves": lambda: plots.noise_curves(NOISE),
    "filters": lambda: plots.filters(images(30, (3, 3, 1)) - 0.5),
    "unit histograms": lambda: plots.unit_histograms(codes(size=7), NAMES[:7]),
    "label curves": lambda: plots.label_curves({"codes": {10: (0.5, 0.1), 100: (0.7, 0.05)}}),
    "roc": lambda: plots.roc_curves({"squared error": ([0, 0.2, 1], [0, 0.9, 1])}),
    "scores": lambda: plots.score_histogram(codes()[:, 0], codes()[:, 1] > 0, threshold=0.5),
    "rate and distortion": lambda: plots.rate_distortion(
        {"": [(0.5, 30.0, 70.0), (1.0, 24.0, 75.0), (4.0, 9.0, 110.0)]}
    ),
    "density": lambda: plots.density_histogram({"trained": [0.0, 0.1, 1.0], "a": [0.5]}, 100),
    "cosines": lambda: plots.cosine_histogram({"trained": [-0.3, 0.9], "random": [0.2, 0.1]}),
    "size curves": lambda: plots.size_curves({"PCA": {2: 0.05, 32: 0.01}, "dense": {2: 0.04}}),
}


@pytest.mark.parametrize("make", FIGURES.values(), ids=FIGURES)
def test_all_is_inside_the_figure_and_the_label_says_what(make):
    fig = make()
    assert len(fig.get_label()) > 10
    fig.draw_without_rendering()
    drawn, (width, height) = fig.get_tightbbox(), fig.get_size_inches()
    assert drawn.x0 > -0.01 and drawn.y0 > -0.01
    assert drawn.x1 < width + 0.01 and drawn.y1 < height + 0.01


def test_pyplot_is_not_imported(tmp_path):
    code = """
import sys, numpy as np
from ae_jax import plots
from ae_jax.plots.figure import PALETTE
plots.save(plots.latent_scatter(np.eye(3), np.arange(3)), sys.argv[1])
print("matplotlib.pyplot" in sys.modules)
"""
    command = [sys.executable, "-c", code, str(tmp_path / "figure.png")]
    env = os.environ | {"MPLBACKEND": "TkAgg", "DISPLAY": ""}
    found = subprocess.run(command, capture_output=True, text=True, check=True, env=env)
    assert found.stdout.strip() == "False"


class TestReconstructions:
    def test_rows_are_input_reconstruction_and_difference(self):
        x, recon = images(), images(seed=1)
        fig = plots.reconstructions(x, recon, count=4)
        rows = fig.axes[:3]
        assert [ax.get_ylabel() for ax in rows] == ["input", "reconstruction", "difference"]
        for k in range(4):
            np.testing.assert_array_equal(place(rows[0], 0, k, (6, 5)), x[k])
            np.testing.assert_array_equal(place(rows[1], 0, k, (6, 5)), recon[k])
            np.testing.assert_array_equal(place(rows[2], 0, k, (6, 5)), recon[k] - x[k])
        assert shown(rows[0]).shape == (6, 4 * 6 - 1)
        assert np.isnan(shown(rows[0])[:, 5::6]).all()  # the gaps

    def test_scales_are_shared_and_the_difference_is_centred_on_zero(self):
        x, recon = images(), images(seed=1)
        first, second, third = (ax.images[0] for ax in plots.reconstructions(x, recon).axes[:3])
        assert first.get_clim() == second.get_clim() == (0, 1)
        reach = np.abs(recon - x)[:10].max()
        assert third.get_clim() == pytest.approx((-reach, reach))
        assert third.cmap(0.5)[:3] == pytest.approx((0.97, 0.97, 0.97), abs=0.01)

    def test_errors_and_labels_are_printed(self):
        x = np.zeros((3, 2, 2))
        fig = plots.reconstructions(
            x, x + np.array([0.5, 1, 2])[:, None, None], labels=["a", "b", "c"]
        )
        assert texts(fig.axes[0].get_xticklabels()) == ["a", "b", "c"]
        assert texts(fig.axes[2].get_xticklabels()) == ["1.0", "4.0", "16.0"]

    def test_uint8_and_a_channel_axis_are_read(self):
        x = np.full((2, 3, 3, 1), 51, np.uint8)
        fig = plots.reconstructions(x, x)
        np.testing.assert_allclose(place(fig.axes[0], 0, 1, (3, 3)), 0.2, rtol=1e-6)

    def test_colors_are_kept_and_their_differences_averaged(self):
        x, recon = images(3, (6, 5, 3)), images(3, (6, 5, 3), seed=1)
        rows = plots.reconstructions(x, recon).axes
        np.testing.assert_array_equal(place(rows[0], 0, 2, (6, 5)), x[2])
        difference = (recon - x).mean(axis=3)
        np.testing.assert_allclose(place(rows[2], 0, 1, (6, 5)), difference[1], atol=1e-7)

    def test_sequences_have_time_running_down_on_their_own_scale(self):
        x = 5 * images(3, (10, 2)) - 2
        rows = plots.reconstructions(x, x).axes
        np.testing.assert_array_equal(place(rows[0], 0, 1, (10, 2)), x[1])
        assert rows[0].images[0].get_clim() == pytest.approx((x.min(), x.max()))

    @pytest.mark.parametrize("shape", [(7, 9), (7, 9, 1)])
    def test_vectors_and_series_are_lines(self, shape):
        x, recon = images(7, shape[1:]), images(7, shape[1:], seed=1)
        fig = plots.reconstructions(x, recon, labels=range(7))
        panels = [ax for ax in fig.axes if ax.get_visible()]
        assert [ax.get_title() for ax in panels] == [str(k) for k in range(7)]
        for k, ax in enumerate(panels):
            curves = {line.get_label(): line.get_ydata() for line in ax.lines}
            np.testing.assert_array_equal(curves["input"], x[k].ravel())
            np.testing.assert_array_equal(curves["reconstruction"], recon[k].ravel())
            np.testing.assert_array_equal(curves["difference"], (recon - x)[k].ravel())

    def test_a_diverged_model_can_be_drawn(self, tmp_path):
        x = images(3)
        assert plots.save(plots.reconstructions(x, x * np.nan), tmp_path / "a.png").exists()

    @pytest.mark.parametrize(
        ("x", "recon", "options", "message"),
        [
            (images(3), images(3, (5, 6)), {}, r"\(3, 6, 5\) and \(3, 5, 6\)"),
            (images(3, (2, 2, 4)), images(3, (2, 2, 4)), {}, r"\(3, 2, 2, 4\)"),
            (images(0), images(0), {}, "something to draw"),
            (images(3), images(3), {"count": 0}, "count must be at least 1, got 0"),
            (images(3), images(3), {"labels": ["a"]}, "all 3 examples, got 1"),
        ],
    )
    def test_bad_input_is_refused(self, x, recon, options, message):
        with pytest.raises(ValueError, match=message):
            plots.reconstructions(x, recon, **options)


class TestImageGrids:
    def test_rows_are_named_in_order_on_one_scale(self):
        rows = {"noisy": images(seed=1) * 3 - 1, "clean": images()}
        fig = plots.image_rows(rows, count=3, title="denoising")
        assert [ax.get_ylabel() for ax in fig.axes] == ["noisy", "clean"]
        assert [ax.images[0].get_clim() for ax in fig.axes] == [(0, 1), (0, 1)]
        np.testing.assert_array_equal(place(fig.axes[0], 0, 2, (6, 5)), rows["noisy"][2])
        with pytest.raises(ValueError, match=r"'a': \(12, 6, 5\), 'b': \(11, 6, 5\)"):
            plots.image_rows({"a": images(), "b": images(11)}, count=12)
        with pytest.raises(ValueError, match="rows is empty"):
            plots.image_rows({})

    def test_samples_are_in_reading_order(self):
        x = images(7)
        (ax,) = plots.samples(x, columns=3, limits=(-1, 2)).axes
        assert shown(ax).shape == (3 * 7 - 1, 3 * 6 - 1)
        for k in range(7):
            np.testing.assert_array_equal(place(ax, *divmod(k, 3), (6, 5)), x[k])
        assert np.isnan(place(ax, 2, 1, (6, 5))).all()
        assert ax.images[0].get_clim() == (-1, 2)

    def test_color_samples_are_scaled_by_the_limits(self):
        x = images(2, (6, 5, 3))
        (ax,) = plots.samples(2 * x - 1, limits=(-1, 1)).axes
        np.testing.assert_allclose(place(ax, 0, 1, (6, 5)), x[1], atol=1e-6)

    def test_channels_of_a_code_stand_side_by_side(self):
        z = images(3, (4, 4, 8))
        ax = plots.latent_images(z, labels=[7, 8, 9]).axes[0]
        for n in range(3):
            for c in range(8):
                drawn = shown(ax)[5 * n : 5 * n + 4, 4 * c : 4 * c + 4]
                np.testing.assert_array_equal(drawn, z[n, :, :, c])
        assert texts(ax.get_yticklabels()) == ["7", "8", "9"]
        with pytest.raises(ValueError, match=r"\(3, 128\)"):
            plots.latent_images(z.reshape(3, 128))


class TestManifold:
    def test_codes_are_evenly_spaced_in_probability(self):
        z = plots.manifold_latents(5, tail=0.1)
        assert z.shape == (25, 2) and z.dtype == np.float32
        across, up = z.reshape(5, 5, 2)[..., 0], z.reshape(5, 5, 2)[..., 1]
        probability = np.vectorize(NormalDist().cdf)
        expected = [0.1, 0.3, 0.5, 0.7, 0.9]
        for k in range(5):
            np.testing.assert_allclose(probability(across[k]), expected, atol=1e-6)
            np.testing.assert_allclose(probability(up[:, k]), expected[::-1], atol=1e-6)

    def test_ticks_are_the_codes_of_the_rows_and_columns(self):
        n = 5
        z = plots.manifold_latents(n)
        (ax,) = plots.manifold(np.ones((n * n, 6, 5)) * z[:, 1, None, None]).axes
        for x, text in zip(ax.get_xticks(), texts(ax.get_xticklabels()), strict=True):
            assert float(text) == pytest.approx(z[round((x - 2) / 6), 0], abs=0.051)
        for y, text in zip(ax.get_yticks(), texts(ax.get_yticklabels()), strict=True):
            drawn = shown(ax)[round(y), 0]
            assert float(text) == pytest.approx(drawn, abs=0.051)
        assert "-0.0" not in texts(ax.get_xticklabels())

    def test_bad_input_is_refused(self):
        with pytest.raises(ValueError, match="got n = 1 and"):
            plots.manifold_latents(1)
        with pytest.raises(ValueError, match=r"tail = 0\.5"):
            plots.manifold_latents(3, tail=0.5)
        with pytest.raises(ValueError, match="got 12"):
            plots.manifold(images(12))


class TestCodeScatter:
    def drawn(self, ax):
        """Points and colors of all that is drawn, without legend keys."""
        clouds = [c for c in ax.collections if len(c.get_offsets())]
        points = np.concatenate([c.get_offsets() for c in clouds])
        colors = [to_hex(color) for c in clouds for color in c.get_facecolors()]
        return points, colors

    def test_two_dimensional_codes_are_drawn_as_they_are(self):
        z, label = codes(30), np.arange(30) % 3
        ax = plots.latent_scatter(z, label).axes[0]
        points, colors = self.drawn(ax)
        nearest = [np.abs(z - point).sum(axis=1).argmin() for point in points]
        assert sorted(nearest) == list(range(30))
        np.testing.assert_allclose(points, z[nearest], rtol=1e-6)
        assert colors == [PALETTE[label[k]] for k in nearest]

    def test_classes_are_named_in_the_legend_and_at_their_medians(self):
        z = np.repeat(np.eye(2), 5, axis=0) * 3 + codes(10) / 100
        label = np.repeat([4, 2], 5)
        fig = plots.latent_scatter(z, label, class_names=["t", "u", "v", "w", "x"])
        assert texts(fig.legends[0].get_texts()) == ["v", "x"]
        places = {text.get_text(): text.get_position() for text in fig.axes[0].texts}
        assert places["x"] == pytest.approx(np.median(z[:5], axis=0))
        assert places["v"] == pytest.approx(np.median(z[5:], axis=0))

    def test_larger_codes_are_projected_on_their_principal_components(self):
        z = codes(200, 6)
        fig = plots.latent_scatter(z.reshape(200, 1, 2, 3))
        points, _ = self.drawn(fig.axes[0])
        variances, axes = np.linalg.eigh(np.cov(z.T))
        expected = (z - z.mean(axis=0)) @ axes[:, :-3:-1]
        np.testing.assert_allclose(
            np.sort(np.abs(points[:, 0])), np.sort(np.abs(expected[:, 0])), rtol=1e-4
        )
        np.testing.assert_allclose(np.cov(points.T), np.diag(variances[:-3:-1]), atol=1e-3)
        part = variances[-2:].sum() / variances.sum()
        assert f"two principal components, {part:.0%} of the variance" in fig.axes[0].get_title()

    def test_eleven_to_twenty_classes_differ_in_color_or_marker(self):
        z = np.arange(20.0)[:, None] * [1, -1]
        fig = plots.latent_scatter(z, np.arange(20))
        clouds = [c for c in fig.axes[0].collections if len(c.get_offsets())]
        looks = {}
        for cloud in clouds:
            shape = cloud.get_paths()[0].vertices.tobytes()
            for (x, _), color in zip(cloud.get_offsets(), cloud.get_facecolors(), strict=True):
                looks[int(x)] = shape, to_hex(color)
        keys = [
            (key.get_paths()[0].vertices.tobytes(), to_hex(key.get_facecolor()[0]))
            for key in fig.legends[0].legend_handles
        ]
        assert len(set(keys)) == 20
        assert [looks[k] for k in range(20)] == keys

    @pytest.mark.parametrize("label", [np.arange(30), np.linspace(0, 1, 30)])
    def test_many_or_fractional_labels_are_a_color_scale(self, label):
        fig = plots.latent_scatter(codes(30), label)
        assert len(fig.axes) == 2 and not fig.legends
        np.testing.assert_array_equal(np.sort(fig.axes[0].collections[0].get_array()), label)

    def test_one_dimensional_codes_are_strips_by_class(self):
        z, label = codes(30, 1), np.array(list("abc"))[np.arange(30) % 3]
        ax = plots.latent_scatter(z, label).axes[0]
        assert texts(ax.get_yticklabels()) == ["a", "b", "c"]
        points, _ = self.drawn(ax)
        for x, y in points:
            assert label[np.abs(z[:, 0] - x).argmin()] == "abc"[round(y)]

    def test_one_dimensional_codes_without_labels_are_a_histogram(self):
        ax = plots.latent_scatter(codes(30, 1)).axes[0]
        assert sum(bar.get_height() for bar in ax.patches) == 30

    def test_no_more_than_max_points_are_drawn(self):
        points, _ = self.drawn(plots.latent_scatter(codes(1000), max_points=100).axes[0])
        assert len(points) == 100 and len(np.unique(points, axis=0)) == 100

    def test_collapsed_codes_can_be_drawn(self):
        assert "0% of the variance" in plots.latent_scatter(np.ones((5, 4))).axes[0].get_title()

    @pytest.mark.parametrize(
        ("z", "label", "message"),
        [
            (np.full((3, 2), np.nan), None, "finite"),
            (codes(3), [0, 1], r"shape \(3,\) like z, got \(2,\)"),
            (np.zeros((0, 2)), None, "something to draw"),
            (codes(30), [f"class {k}" for k in range(30)], "at most 20 classes"),
        ],
    )
    def test_bad_input_is_refused(self, z, label, message):
        with pytest.raises(ValueError, match=message):
            plots.latent_scatter(z, label)


class TestCurves:
    def test_loss_and_terms_have_a_panel_each_with_train_and_test(self):
        rows = metrics(**TERMS)
        fig = plots.loss_curves(rows, unit="nats")
        assert [ax.get_title() for ax in fig.axes] == ["loss", "reconstruction", "kl"]
        assert fig.axes[0].get_ylabel() == "nats"
        for ax, values in zip(fig.axes, TERMS.values(), strict=True):
            train, test = ax.lines
            np.testing.assert_array_equal(train.get_xdata(), range(1, 6))
            np.testing.assert_allclose(train.get_ydata(), values)
            np.testing.assert_allclose(test.get_ydata(), 2 * values)
            assert train.get_label() == f"train (last {values[-1]:.4g})"

    def test_one_term_is_the_loss_and_gets_no_panel(self):
        fig = plots.loss_curves(metrics(loss=np.ones(5), bce=np.ones(5)))
        assert [ax.get_title() for ax in fig.axes] == ["loss"]

    def test_steps_are_counted_where_an_epoch_has_several_rows(self):
        rows = [{"step": s, "epoch": s // 3, "split": "train", "loss": 1.0} for s in range(9)]
        (ax,) = plots.loss_curves(rows).axes
        assert ax.get_xlabel() == "step"
        np.testing.assert_array_equal(ax.lines[0].get_xdata(), range(9))

    @pytest.mark.parametrize(
        ("values", "scale"),
        [
            ([5, 1, 1, 1, 1], "linear"),
            ([10, 1, 1, 1, 1], "log"),
            ([10, 1, 1, 1, 0], "linear"),
            ([10, 1, 1, 1, -1], "linear"),
            ([10, np.nan, np.inf, 1, 1], "log"),
        ],
    )
    def test_wide_positive_ranges_are_logarithmic(self, values, scale):
        rows = [r for r in metrics(loss=np.array(values, float)) if r["split"] == "train"]
        (ax,) = plots.loss_curves(rows).axes
        assert ax.get_yscale() == scale
        lost = np.sum(~np.isfinite(values))
        assert ax.get_title() == ("loss" if not lost else f"loss ({lost} not finite)")

    def test_sizes_are_sorted_on_logarithmic_axes(self):
        table = {"PCA": {8: 0.02, 2: 0.05, 32: 0.01}, "dense": {2: 0.04}}
        (ax,) = plots.size_curves(table, unit="MSE").axes
        assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
        assert texts(ax.get_xticklabels()) == ["2", "8", "32"]
        pca, dense = ax.lines
        np.testing.assert_array_equal(pca.get_xydata(), [[2, 0.05], [8, 0.02], [32, 0.01]])
        np.testing.assert_array_equal(dense.get_xydata(), [[2, 0.04]])
        assert ax.get_ylabel() == "test MSE"
        assert texts(ax.get_legend().get_texts()) == ["PCA", "dense"]

    def test_points_that_diverged_change_no_line(self):
        good, bad = (1.0, 24.0, 75.0), (0.5, np.nan, np.nan)
        for points in ([good, bad], [bad, good]):
            (ax,) = plots.rate_distortion({"": points}).axes
            assert texts(ax.get_legend().get_texts()) == ["ELBO -99"]
        (ax,) = plots.rate_distortion({"": [bad]}).axes
        assert len(ax.lines) == 1

    def test_nothing_to_draw_is_refused(self):
        with pytest.raises(ValueError, match="rows is empty"):
            plots.loss_curves([])
        with pytest.raises(ValueError, match="table is empty"):
            plots.size_curves({"PCA": {}})


class TestSave:
    def test_writes_a_png_with_its_description(self, tmp_path):
        fig = plots.samples(images())
        path = plots.save(fig, tmp_path / "samples.png", dpi=50)
        assert path == tmp_path / "samples.png"
        with Image.open(path) as png:
            assert png.format == "PNG"
            assert png.text["Description"] == fig.get_label() == "samples: 12 images"
            assert min(png.size) > 50

    def test_a_failed_write_leaves_the_old_file_and_nothing_else(self, tmp_path):
        path = plots.save(plots.samples(images()), tmp_path / "a.png")
        before = path.read_bytes()
        with pytest.raises(ValueError):
            plots.save(plots.samples(images(3)), path, dpi=-1)
        assert path.read_bytes() == before
        folder = tmp_path / "folder.png"
        folder.mkdir()
        with pytest.raises(OSError):
            plots.save(plots.samples(images(3)), folder)
        assert sorted(tmp_path.iterdir()) == [path, folder]

    def test_other_formats_are_refused(self, tmp_path):
        with pytest.raises(ValueError, match=r"ends in \.png, got .*a\.pdf"):
            plots.save(plots.samples(images()), tmp_path / "a.pdf")


class TestDenoising:
    def test_a_curve_runs_up_the_levels(self):
        fig = plots.noise_curves(NOISE)
        assert [ax.get_title() for ax in fig.axes] == ["gaussian", "salt and pepper"]
        for ax in fig.axes:
            curves = {line.get_label(): line.get_xydata().tolist() for line in ax.lines}
            assert curves == {
                "noisy": [[0.1, 20.0], [0.5, 9.0]],
                "model": [[0.1, 19.0], [0.5, 15.0]],
            }
        assert texts(fig.legends[0].get_texts()) == ["noisy", "model"]

    def test_nothing_is_refused(self):
        with pytest.raises(ValueError, match="table is empty"):
            plots.noise_curves({"SSIM": {}})


class TestFeatures:
    def test_filters_are_by_norm_each_on_its_own_scale(self):
        weights = np.random.default_rng(0).normal(size=(5, 20, 20))
        weights *= np.array([1, 4, 0, 2, 3])[:, None, None]
        (ax,) = plots.filters(weights, count=3, columns=2).axes
        assert ax.get_title() == "3 of 5 filters of the first layer"
        assert ax.images[0].get_clim() == (-1, 1)
        for k, unit in enumerate([1, 4, 3]):
            expected = weights[unit] / np.abs(weights[unit]).max()
            found = place(ax, *divmod(k, 2), (20, 20))
            np.testing.assert_allclose(found, expected, atol=1e-6)

    def test_a_unit_without_weights_is_white_and_colors_are_around_gray(self):
        weights = np.zeros((2, 20, 20, 3))
        weights[0, :, :, 1] = -2
        (ax,) = plots.filters(weights).axes
        np.testing.assert_allclose(place(ax, 0, 0, (20, 20)), np.full((20, 20, 3), [0.5, 0, 0.5]))
        np.testing.assert_allclose(place(ax, 0, 1, (20, 20)), 0.5)

    def test_vectors_are_refused(self):
        with pytest.raises(ValueError, match=r"weights must be .*, got \(3, 4\)"):
            plots.filters(np.ones((3, 4)))

    def test_histograms_count_every_example_once(self):
        z = codes(200, 3)
        fig = plots.unit_histograms(z, ["a", "b", "c"], columns=2)
        panels = [ax for ax in fig.axes if ax.get_visible()]
        assert [ax.get_title() for ax in panels] == ["a", "b", "c"]
        for ax, unit in zip(panels, z.T, strict=True):
            heights = np.array([bar.get_height() for bar in ax.patches])
            assert heights.sum() == pytest.approx(1)
            lowest = ax.patches[0]
            edge = lowest.get_x() + lowest.get_width()
            assert lowest.get_height() == pytest.approx((unit < edge).mean(), abs=0.006)
        with pytest.raises(ValueError, match=r"z must be \[N, 2\] .* got \(200, 3\)"):
            plots.unit_histograms(z, ["a", "b"])

    def test_accuracy_has_its_deviation(self):
        table = {"codes": {100: (0.7, 0.05), 10: (0.5, 0.1)}, "input": {10: (0.4, 0.0)}}
        (ax,) = plots.label_curves(table).axes
        assert texts(ax.get_xticklabels()) == ["10", "100"]
        line, _, (bars,) = ax.containers[0]
        np.testing.assert_allclose(line.get_ydata(), [0.5, 0.7])
        np.testing.assert_allclose(
            [b[:, 1] for b in bars.get_segments()], [[0.4, 0.6], [0.65, 0.75]]
        )
        with pytest.raises(ValueError, match="table is empty"):
            plots.label_curves({"codes": {}})


class TestDetection:
    def test_each_kind_has_its_shares(self):
        scores, odd = np.array([1.0, 1.5, 2.5, 9.5, 2.6]), np.array([0, 0, 0, 1, 1], bool)
        ax = plots.score_histogram(scores, odd, threshold=3.0, name="error", bins=9).axes[0]
        normal, anomalous = (
            [patch.get_height() for patch in container] for container in ax.containers
        )
        assert sum(normal) == pytest.approx(1) and sum(anomalous) == pytest.approx(1)
        assert normal[0] == pytest.approx(2 / 3) and anomalous[-1] == pytest.approx(1 / 2)
        assert texts(ax.get_legend().get_texts()) == ["normal (3)", "anomalous (2)", "threshold"]
        assert ax.get_xscale() == "linear"
        assert plots.score_histogram(scores * [1, 1, 1, 2, 1], odd).axes[0].get_xscale() == "log"

    def test_curves_are_drawn_as_given(self):
        rates = ([0, 0.1, 1], [0, 0.8, 1])
        ax = plots.roc_curves({"error": rates}).axes[0]
        np.testing.assert_array_equal(ax.lines[-1].get_xydata().T, rates)
        assert texts(ax.get_legend().get_texts()) == ["error"]

    def test_nothing_to_draw(self):
        with pytest.raises(ValueError, match="curves is empty"):
            plots.roc_curves({})
        with pytest.raises(ValueError, match="need finite scores"):
            plots.score_histogram([1.0, np.nan], [True, False])


class TestDictionaries:
    def test_bars_are_shares_of_all_latents_and_the_legend_counts_the_dead(self):
        rates = [0.0, 0.0, 0.001, 0.1, 1.0]
        fig = plots.density_histogram({"trained": rates, "random": [0.1] * 4}, 1000)
        trained, random = fig.axes[0].patches
        values, edges, _ = trained.get_data()
        assert (edges[0], edges[-1]) == (-3, 0) and values.sum() == pytest.approx(3 / 5)
        assert values[[0, -1]] == pytest.approx([1 / 5, 1 / 5])
        assert random.get_data()[0].max() == 1
        names = [text.get_text() for text in fig.axes[0].get_legend().get_texts()]
        assert names == ["trained (2 of 5 never active)", "random (0 of 4 never active)"]

    def test_cosines_count_by_size(self):
        fig = plots.cosine_histogram({"trained": [-1.0, 1.0, 0.0]})
        values, edges, _ = fig.axes[0].patches[0].get_data()
        assert values[[0, -1]] == pytest.approx([1 / 3, 2 / 3]) and len(edges) == len(values) + 1

    def test_what_cannot_be_drawn(self):
        for draw in (lambda d: plots.density_histogram(d, 10), plots.cosine_histogram):
            with pytest.raises(ValueError, match="is empty: give at least one name"):
                draw({})
            with pytest.raises(ValueError, match="a must be numbers \\[W\\] in \\[0, 1\\]"):
                draw({"a": [2.0]})
