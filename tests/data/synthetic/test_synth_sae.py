"""SynthSAEBench's law: against a dense draw of all features, and against exact probabilities."""

from dataclasses import replace
from functools import cache
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from ae_jax.data.synthetic import SynthSAE, synth_sae
from ae_jax.data.synthetic.law import feature_words, row_words
from ae_jax.devices.mesh import data_mesh, split
from ae_jax.ops.threefry import key_of, normal, threefry, uniform

pytestmark = pytest.mark.usefixtures("compiled_once")
# Trees that are active often, with strong correlations, and magnitudes that are often cut at 0.
SMALL = SynthSAE(
    features=70, dim=5, roots=4, children=3, depth=2, rank=3, correlation=0.4, least=0.02,
    most=0.6, first_mean=2.0, last_mean=1.0, spread=0.8, steps=0,
)  # fmt: skip
COUNT = 30_000
SLOW = pytest.mark.slow


@cache
def activations(spec):
    data = spec.build(5).data(COUNT, activations=True)
    return data.read(np.arange(COUNT))["activations"]


def dense(law, rows):
    """Every feature of every row is drawn, and the hierarchy is applied to them afterwards."""
    spec, constants = law.spec, {k: np.asarray(v) for k, v in law.constants.items()}
    key = threefry(key_of(0), (jnp.asarray(rows), 0))
    eps = np.asarray(normal(row_words(key, spec.rank)), np.float64)
    words = feature_words(key, jnp.arange(spec.features)[None])
    u, z = np.asarray(uniform(words[0]), float), np.asarray(normal(words[1]), float)
    q = stats.norm.sf(constants["threshold"] - eps @ constants["factor"].T)
    with np.errstate(divide="ignore"):
        ratio = u / q
    value = np.maximum(constants["mean"] + constants["spread"] * z, 0) * (ratio < 1)
    ratio = np.where(value > 0, ratio, np.inf)
    parents, forest = law.parents, spec.forest
    for level in range(1, spec.depth + 1):
        for first in range(forest.first(level), forest.first(level + 1), spec.children):
            siblings = np.arange(first, first + spec.children)
            parent = parents[first]
            value[:, siblings] *= value[:, [parent]] / constants["mean"][parent]
            losing = ratio[:, siblings] > ratio[:, siblings].min(1, keepdims=True)
            value[:, siblings] *= ~losing
    return value


@pytest.mark.parametrize("slots", [2, 32])
def test_children_under_active_parents_only_are_the_dense_draw(slots, monkeypatch):
    """Row by row. With 2 features at a time, the loop turns often."""
    monkeypatch.setattr(synth_sae, "SLOTS", slots)
    law = SMALL.build(1)
    got = law.data(500, activations=True).read(np.arange(500))["activations"]
    np.testing.assert_allclose(got, dense(law, np.arange(500)), rtol=1e-4, atol=1e-6)
    assert (got[:, 16:] > 0).sum(1).max() > slots or slots > 2


def test_hierarchy_and_exclusion_always_hold():
    a = activations(SMALL) > 0
    parents = SMALL.parents()
    child = np.flatnonzero(parents >= 0)
    assert not (a[:, child] & ~a[:, parents[child]]).any()
    assert a[:, 4:52].reshape(COUNT, -1, 3).sum(-1).max() == 1
    assert a[:, 4:16].any() and a[:, 16:52].any()


def positive(law):
    """The probability that a feature's magnitude is not cut to 0: [N]."""
    return stats.norm.cdf(np.asarray(law.constants["mean"]) / np.asarray(law.constants["spread"]))


def assert_within(got, want, count):
    errors = np.sqrt(want * (1 - want) / count)
    assert (np.abs(got - want) < 5 * errors + 1e-9).all(), (got - want) / errors


def test_features_without_a_parent_fire_as_often_as_they_should():
    law, heads = SMALL.build(5), np.flatnonzero(SMALL.parents() < 0)
    want = (SMALL.base_probabilities() * positive(law))[heads]
    assert_within((activations(SMALL) > 0).mean(0)[heads], want, COUNT)


def wins(q):
    """The probability that each sibling fires and stays, by all patterns: [c] -> [c]."""
    win = np.zeros(len(q))
    for pattern in product((0, 1), repeat=len(q)):
        fires = np.array(pattern, bool)
        if fires.any():
            win[fires] += np.where(fires, q, 1 - q).prod() / fires.sum()
    return win


def active_probabilities(law, quantile):
    """How often each feature is active, for `quantile(p) -> [N]` given the common factor."""
    spec, forest = law.spec, law.spec.forest
    q = quantile * positive(law)
    active = q.copy()
    for first in range(forest.first(1), forest.size, spec.children):
        siblings = slice(first, first + spec.children)
        active[siblings] = wins(q[siblings]) * active[law.parents[first]]
    return active


def test_children_are_active_as_often_as_they_should_without_correlation():
    spec = replace(SMALL, rank=0)
    law = spec.build(5)
    want = active_probabilities(law, spec.conditional_probabilities())
    assert_within((activations(spec) > 0).mean(0), want, COUNT)


def test_and_with_it_by_an_integral_over_the_common_factor():
    spec = replace(SMALL, rank=1, correlation=0.6)
    law = spec.build(5)
    factor, threshold = (np.asarray(law.constants[n], float) for n in ("factor", "threshold"))
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    want = sum(
        weight * active_probabilities(law, stats.norm.sf(threshold - factor[:, 0] * e))
        for e, weight in zip(nodes, weights / weights.sum(), strict=True)
    )
    assert_within((activations(spec) > 0).mean(0), want, COUNT)
    # And they are not those of independent features.
    apart = active_probabilities(law, spec.conditional_probabilities())
    assert np.abs(want / apart - 1)[16:52].max() > 0.2


def test_pairs_fire_together_as_a_gaussian_copula_has_it():
    spec = replace(SMALL, roots=0, features=6, spread=0.0)
    law = spec.build(5)
    scaled = np.asarray(law.constants["factor"], float)
    factor = scaled / np.sqrt(1 + np.square(scaled).sum(1, keepdims=True))
    a = activations(spec) > 0
    above = stats.norm.isf(spec.base_probabilities())
    for i in range(6):
        for j in range(i):
            rho = factor[i] @ factor[j]
            pair = stats.multivariate_normal(cov=[[1, rho], [rho, 1]])
            both = pair.cdf([-above[i], -above[j]])
            assert_within((a[:, i] & a[:, j]).mean(), both, COUNT)
    assert np.abs(factor @ factor.T - np.diag(np.diag(factor @ factor.T))).max() > 0.2


def test_magnitudes_and_their_scaling_by_the_parent():
    spec = replace(SMALL, first_mean=5.0, last_mean=4.0, spread=0.5)
    law, a = spec.build(5), activations(spec)
    mean, spread = (np.asarray(law.constants[n], float) for n in ("mean", "spread"))
    np.testing.assert_allclose(mean, np.linspace(5, 4, spec.features), rtol=1e-6)
    for feature in (0, 3, 5, 20, 60, 69):
        on, parent = a[:, feature] > 0, law.parents[feature]
        own = a[on, feature] if parent < 0 else a[on, feature] * mean[parent] / a[on, parent]
        cut = stats.truncnorm(
            -mean[feature] / spread[feature], np.inf, mean[feature], spread[feature]
        )
        assert stats.kstest(own, cut.cdf).pvalue > 1e-4


def test_constants():
    law = replace(SMALL, features=4000, dim=30, correlation=0.1, rank=25, spread=0.5).build(0)
    c = {name: np.asarray(array, float) for name, array in law.constants.items()}
    np.testing.assert_allclose(np.linalg.norm(c["features"], axis=1), 1, rtol=1e-5)
    assert np.linalg.norm(c["bias"]) == pytest.approx(0.5)
    noise = 1 / np.sqrt(1 + np.square(c["factor"]).sum(1))
    factor = c["factor"] * noise[:, None]
    assert abs(factor.std() - 0.1) < 5 * 0.1 / np.sqrt(2 * factor.size)
    np.testing.assert_allclose(
        c["threshold"] * noise, stats.norm.isf(law.spec.conditional_probabilities()), atol=1e-4
    )
    # |N(.5, .5)|
    folded = stats.foldnorm(1, scale=0.5)
    assert stats.kstest(c["spread"], folded.cdf).pvalue > 1e-4


def test_base_probabilities_fall_with_the_square_root_of_the_rank():
    p = SynthSAE().base_probabilities()
    assert p[0] == pytest.approx(0.4) and p[-1] == pytest.approx(5e-4)
    r = np.arange(1, 16385)
    low = 16384**-0.5
    np.testing.assert_allclose(p, 5e-4 + 0.3995 * (r**-0.5 - low) / (1 - low))
    constant = SynthSAE(features=9, roots=1, depth=1, least=0.2, most=0.2).base_probabilities()
    np.testing.assert_allclose(constant, 0.2)


def test_long_factors_keep_the_variance_at_one():
    law = replace(SMALL, rank=40, correlation=0.5).build(0)
    squares = np.square(np.asarray(law.constants["factor"])).sum(1)
    np.testing.assert_allclose(squares / (1 + squares), 0.99, rtol=1e-4)


SHAPES = {
    "no trees": {"roots": 0},
    "chains": {"children": 1, "depth": 3},
    "always": {"features": 8, "dim": 1, "roots": 2, "depth": 1, "most": 0.999, "least": 0.999},
}
MORE = {
    "no children": {"depth": 0},
    "trees only": {"features": 52},
    "independent": {"rank": 0},
    "constant": {"spread": 0.0, "bias": 0.0},
}


@pytest.mark.parametrize("shape", [*SHAPES, *(pytest.param(m, marks=SLOW) for m in MORE)])
def test_other_shapes_are_the_dense_draw_too(shape):
    law = replace(SMALL, **(SHAPES | MORE)[shape]).build(2)
    batch = law.data(100, activations=True).read(np.arange(100))
    np.testing.assert_allclose(
        batch["activations"], dense(law, np.arange(100)), rtol=1e-4, atol=1e-6
    )
    assert np.isfinite(batch["x"]).all()


def test_it_is_split_over_devices():
    data = SMALL.build(1).data(100, activations=True)
    rows = jnp.arange(64, dtype=jnp.int32)
    whole = jax.jit(lambda data, rows: data.at(rows))(data, rows)
    parts = jax.jit(lambda data, rows: data.at(rows))(
        data, jax.device_put(rows, split(data_mesh(4)))
    )
    assert parts["x"].sharding.spec[0] == "data"
    for name in data:
        np.testing.assert_allclose(parts[name], whole[name], rtol=1e-5, atol=1e-5)


@SLOW
def test_the_16k_size_has_34_active_features():
    """And 25 among the first 4096, as published."""
    law = SynthSAE(steps=0).build()
    data = law.data(10**8, activations=True)
    counts = []
    for first in range(0, 8192, 1024):
        a = data.read(np.arange(first, first + 1024))["activations"] > 0
        counts.append(np.stack([a.sum(1), a[:, :4096].sum(1)], 1))
    counts = np.concatenate(counts)
    mean, error = counts.mean(0), counts.std(0) / np.sqrt(len(counts))
    assert (np.abs(mean - [34, 25]) < 0.5 + 5 * error).all(), (mean, error)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("features", 1, "features=1: must be at least 2"),
        ("features", 40, "features=40: the trees have 52 features: use at least as many"),
        ("dim", 0, "dim=0: must be at least 1"),
        ("children", 0, "children=0: must be at least 1"),
        ("roots", -1, "roots=-1: must be at least 0"),
        ("correlation", -0.1, "correlation=-0.1: must be at least 0"),
        ("exponent", 0.0, "exponent=0.0: must be positive"),
        ("last_mean", 0.0, "last_mean=0.0: must be positive"),
        ("least", 0.7, r"least=0.7: must be in \(0, 0.6\]"),
        ("most", 1.0, "most=1.0: must be below 1"),
        ("most", float("nan"), "most=nan: must be finite"),
    ],
)
def test_numbers_that_make_no_law(field, value, message):
    with pytest.raises(ValueError, match=message):
        replace(SMALL, **{field: value})
