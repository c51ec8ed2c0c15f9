"""The task "generation" on small models of every kind."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ae_jax.bottlenecks import FlowPosterior, FullCovariance, Gaussian, WrappedNormal
from ae_jax.evaluation.likelihood import elbo, log_likelihood, observed
from ae_jax.evaluation.tasks import generation, generation_figures
from ae_jax.evaluation.tasks.subject import Subject
from ae_jax.likelihoods import Bernoulli
from ae_jax.models import (
    AE,
    Convolutional,
    Hyperspherical,
    Ladder,
    Poincare,
    Vanilla,
    Variational,
)
from ae_jax.networks import MLP, ConvNet
from ae_jax.priors import FlowPrior, MixtureOfGaussians, VampPrior, WrappedNormalPrior

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, size=(60, 28, 28, 1)).astype(np.uint8)
FEW = generation.Settings(
    likelihood_examples=30, importance_samples=5, components=2, distance_examples=20
)


def subject(spec, x, numpy_state, name="data"):
    ae = spec.build(x.shape[1:])
    variables = numpy_state(ae, optax.identity()).variables
    train, test = {"x": x[: len(x) // 2]}, {"x": x[len(x) // 2 :]}
    return Subject(ae=ae, variables=variables, train=train, test=test, everything=test, name=name)


def test_a_variational_model_of_images_has_everything(numpy_state):
    spec = Variational(network=MLP(widths=(8,)), latent_dim=2, binarize=True)
    case = subject(spec, IMAGES, numpy_state, "mnist")
    assert generation.misfit(case) is None
    metrics, conventions, figures, skipped = generation.measure(case, FEW)
    numbers = {name for name, value in metrics.items() if not isinstance(value, list | dict)}
    assert numbers == {
        "nll",
        "nll_error",
        "negative_elbo",
        "distortion",
        "rate",
        "active_units",
        "bits_per_dimension",
    }
    assert set(metrics) == set(conventions) and skipped == {}
    data = {"x": observed(case.ae, case.variables, case.test)}
    assert set(np.unique(data["x"])) == {0.0, 1.0}
    nll = -log_likelihood(case.ae, case.variables, data, samples=5).mean()
    np.testing.assert_allclose(metrics["nll"], nll, rtol=1e-5)  # of all 30 test examples
    assert metrics["nll_error"] == 0
    np.testing.assert_allclose(metrics["bits_per_dimension"], nll / 784 / np.log(2), rtol=1e-5)
    parts = metrics["distortion"] + metrics["rate"]
    np.testing.assert_allclose(metrics["negative_elbo"], parts, rtol=1e-6)
    np.testing.assert_allclose(sum(metrics["latent_kl"]), metrics["rate"], rtol=1e-5)
    rows = metrics["distances"]
    assert rows.keys() == {"prior", "mixture", "gaussian", "reconstructions", "test"}
    for row in rows.values():
        assert row.keys() == {"fid[mnist-conv-64]", "kid[mnist-conv-64]"}
    assert rows["test"]["fid[mnist-conv-64]"] < rows["prior"]["fid[mnist-conv-64]"]
    assert figures.keys() == {
        "generation-samples",
        "generation-samples-mixture",
        "generation-samples-gaussian",
        "generation-interpolations",
        "generation-traversals",
        "generation-manifold",
    }


SLOW = pytest.mark.slow
PARTS = {
    "vamp": {"prior": VampPrior(pseudo_inputs=5)},
    "mixture": {"prior": MixtureOfGaussians(components=2)},
    "realnvp": {
        "prior": FlowPrior(steps=1, widths=(4,)),
        "bottleneck": FullCovariance(latent_dim=2),
    },
    "maf": {"prior": FlowPrior(flow="maf", steps=1, widths=(4,))},
    "iaf": {"bottleneck": FlowPosterior(latent_dim=2, widths=(4,))},
    "ball": {
        "prior": WrappedNormalPrior(),
        "bottleneck": WrappedNormal(latent_dim=2, gyroplanes=4),
    },
}


@pytest.mark.parametrize("name", [n if n == "vamp" else pytest.param(n, marks=SLOW) for n in PARTS])
def test_every_prior_and_posterior_is_evaluated(name, numpy_state):
    """The manifold needs the quantiles of N(0, I), and a KL of each latent its closed form."""
    options = {"network": MLP(widths=(4,)), "bottleneck": Gaussian(latent_dim=2), **PARTS[name]}
    spec = AE(likelihood=Bernoulli(), **options)
    case = subject(spec, IMAGES[:, :4, :4], numpy_state)
    metrics, conventions, figures, skipped = generation.measure(case, FEW)
    assert set(metrics) == set(conventions)
    assert "active_units" in metrics and "latent_kl" not in metrics
    parts = metrics["distortion"] + metrics["rate"]
    np.testing.assert_allclose(metrics["negative_elbo"], parts, rtol=1e-6)
    log_weights = elbo(replace_objective(case.ae), case.variables, case.test)["elbo"]
    np.testing.assert_allclose(metrics["negative_elbo"], -log_weights.mean(), rtol=1e-5)
    assert skipped == {"FID and KID": "no classifier comes with ae_jax for data"}
    assert figures.keys() == {
        "generation-samples",
        "generation-samples-mixture",
        "generation-samples-gaussian",
        "generation-interpolations",
        "generation-traversals",
    } | ({"generation-manifold"} if name == "iaf" else set())


@pytest.mark.parametrize("spec", [Hyperspherical(latent_dim=3), Poincare(latent_dim=2)])
def test_latents_in_a_space_of_their_own_are_interpolated_within_it(spec, numpy_state, monkeypatch):
    case = subject(spec, IMAGES[:16, :4, :4], numpy_state)
    drawn, decode_all = {}, generation_figures.decode_all

    def recorded(case, latents, *level):
        drawn.update(latents)
        return decode_all(case, latents, *level)

    monkeypatch.setattr(generation_figures, "decode_all", recorded)
    draw = generation_figures.paths_to_draw(case, np.ones(spec.latent_dim), "variance")
    assert "generation-manifold" not in draw
    draw["generation-interpolations"]()
    assert drawn.keys() == {f"geodesic {i + 1}" for i in range(4)}
    for path in drawn.values():
        assert path.shape == (9, spec.latent_dim)
        length = np.linalg.norm(path, axis=1)
        assert (length < 1).all() if spec.kind == "poincare" else np.allclose(length, 1)
    assert draw["generation-traversals"]() is not None


def replace_objective(ae):
    """A model without the terms nll and kl: its bound comes from the log weights."""
    return replace(ae, objective={"other": ae.objective["nll"]})


def test_traversals_of_a_model_that_computes_in_bfloat16(numpy_state):
    spec = Variational(latent_dim=2)
    case = subject(spec, IMAGES[:8], numpy_state)
    half = replace(case, ae=replace(case.ae, dtype=jnp.bfloat16))
    draw = generation_figures.paths_to_draw(half, np.ones(2), "KL in nats")
    assert draw["generation-traversals"]() is not None


@pytest.mark.slow
def test_a_part_of_the_examples_estimates_the_whole(numpy_state):
    spec = Variational(latent_dim=2, likelihood="gaussian", variance=0.1)
    case = subject(spec, RNG.normal(size=(600, 5)).astype(np.float32), numpy_state)
    settings = generation.Settings(likelihood_examples=100, importance_samples=20)
    metrics = generation.measure(case, settings).metrics
    whole = -log_likelihood(case.ae, case.variables, case.test, samples=20).mean()
    assert 0 < metrics["nll_error"] < 0.2 * whole
    assert abs(metrics["nll"] - whole) < 4 * metrics["nll_error"]
    bound = elbo(case.ae, case.variables, case.test)["elbo"]
    assert metrics["negative_elbo"] == pytest.approx(-bound.mean(), rel=1e-6)
    bits = metrics["nll"] / 5 / np.log(2)  # of a density of floats
    assert metrics["bits_per_dimension"] == pytest.approx(bits)


def test_vectors_have_figures_and_no_pictures(numpy_state):
    case = subject(Vanilla(latent_dim=3), RNG.uniform(size=(60, 7)), numpy_state)
    metrics, _, figures, skipped = generation.measure(case, FEW)
    assert metrics.keys() == {"latent_density"} and figures == {}
    assert skipped == {
        "FID, KID and figures": "examples of shape (7,) are not images [H, W, 1 or 3]"
    }


@pytest.mark.slow
def test_a_deterministic_model_with_spatial_codes(numpy_state):
    spec = Convolutional(network=ConvNet(filters=(3, 2)))
    x = IMAGES[:, :8, :8]
    metrics, _, figures, skipped = generation.measure(subject(spec, x, numpy_state), FEW)
    assert metrics["latent_density"].keys() == {"mixture", "gaussian"}
    assert skipped == {"FID and KID": "no classifier comes with ae_jax for data"}
    assert figures.keys() == {
        "generation-samples",
        "generation-samples-gaussian",
        "generation-interpolations",
        "generation-traversals",
    }


def test_a_classifier_of_other_images(numpy_state):
    chosen = generation.Settings(components=2, distance_examples=20, classifier="mnist-conv-64")
    case = subject(Vanilla(latent_dim=2), IMAGES[:, :4, :4], numpy_state)
    skipped = generation.measure(case, chosen).skipped
    assert skipped == {"FID and KID": "mnist-conv-64 is for images (28, 28, 1)"}


def test_gray_pixels_are_no_likelihood(numpy_state):
    case = subject(Variational(latent_dim=2), RNG.uniform(size=(60, 7)), numpy_state)
    conventions = generation.measure(case, FEW).conventions
    assert "x is not binary, so this is a cross-entropy" in conventions["nll"]


def test_8_bit_pixels_under_a_density(numpy_state):
    case = subject(
        Variational(latent_dim=2, likelihood="gaussian"), IMAGES[:, 0, :5, 0], numpy_state
    )
    metrics = generation.measure(case, FEW).metrics
    bits = metrics["nll"] / 5 / np.log(2) + np.log2(255)
    assert metrics["bits_per_dimension"] == pytest.approx(bits)


def test_8_bit_pixels_have_probabilities(numpy_state):
    """Whose bits per dimension need no dequantization; at first all levels are about as likely."""
    spec = Variational(latent_dim=2, likelihood="beta_binomial")
    case = subject(spec, IMAGES[:, 0, :5, 0], numpy_state)
    metrics, conventions, *_ = generation._likelihood(case, FEW)
    assert metrics["bits_per_dimension"] == pytest.approx(metrics["nll"] / 5 / np.log(2))
    assert 8 < metrics["bits_per_dimension"] < 12
    assert "probabilities of the 256 levels" in conventions["bits_per_dimension"]


def test_samples_may_be_draws_instead_of_means(numpy_state):
    case = subject(Variational(latent_dim=2), IMAGES[:, :4, :4], numpy_state)
    means = generation._sampled(case, FEW)["prior"]
    draws = generation._sampled(case, replace(FEW, draws=True))["prior"]
    assert means.shape == draws.shape and set(np.unique(draws)) == {0.0, 1.0}
    assert len(np.unique(means)) > 2


def test_what_does_not_fit(numpy_state):
    large = Vanilla(latent_dim=generation.LARGEST_LATENT + 1)
    case = subject(large, RNG.uniform(size=(10, 4)), numpy_state)
    assert generation.misfit(case) == "no density is fitted to latents of size 1025, more than 1024"
    diverged = subject(Vanilla(latent_dim=2), RNG.uniform(size=(10, 4)), numpy_state)
    diverged.variables["params"]["code"]["bias"] += np.nan
    assert generation.misfit(diverged) == "latents are not finite: has the training diverged?"


def test_settings_are_checked():
    with pytest.raises(ValueError, match=r"generation.importance_samples=0: must be at least 1"):
        generation.Settings(importance_samples=0)
    with pytest.raises(ValueError, match="generation.classifier='mnist': known: cifar10-conv-64"):
        generation.Settings(classifier="mnist")


class TestHierarchy:
    spec = Ladder(widths=(6, 5, 4), latent_dims=(4, 3, 2), layers=1)

    def test_has_figures_and_active_units_of_each_level(self, numpy_state):
        case = subject(self.spec, IMAGES[:, :5, :5], numpy_state)
        metrics, conventions, figures, skipped = generation.measure(case, FEW)
        assert set(metrics) == set(conventions)
        units = metrics["active_units_by_level"]
        active = np.float64(metrics["latent_kl"]) > 0.01
        assert active.shape == (9,)
        assert units == [active[:4].sum(), active[4:7].sum(), active[7:].sum()]
        assert skipped == {"FID and KID": "no classifier comes with ae_jax for data"}
        assert figures.keys() == {
            "generation-samples",
            "generation-samples-mixture",
            "generation-samples-gaussian",
            "generation-interpolations",
            "generation-traversals",
            "generation-levels",
        }

    def test_flat_latents_are_decoded_as_the_tree(self, numpy_state):
        case = subject(self.spec, IMAGES[:8, :5, :5], numpy_state)
        recon = case.ae.reconstruct(case.variables, case.test["x"])
        drawn = generation_figures.decode(case, case.test_latents)
        np.testing.assert_allclose(drawn, recon, rtol=1e-5)

    def test_lower_levels_follow_a_traversal(self, numpy_state):
        """Or no change of an upper level would be seen: x is drawn from the lowest alone."""
        case = subject(self.spec, IMAGES[:8, :5, :5], numpy_state)
        dimensions = generation_figures._traversed(case, np.arange(9.0))
        assert {level: list(ks.values()) for level, ks in dimensions.items()} == {
            3: [8, 7],
            2: [6, 5, 4],
            1: [3, 2, 1],
        }
        path = np.repeat(case.test_latents[:1], 2, axis=0)
        path[1, 8] += 2.0
        kept, follow = (generation_figures.decode(case, path, level) for level in (1, 3))
        np.testing.assert_array_equal(kept[0], kept[1])
        assert np.abs(follow[0] - follow[1]).max() > 1e-3
