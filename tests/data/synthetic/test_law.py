"""Every law: rows are a function of their numbers, and x = a F + b."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ae_jax.data.fingerprint import changes, fingerprint
from ae_jax.data.synthetic import FeatureSpec, MatryoshkaToy, Superposition, SynthSAE
from ae_jax.models import Vanilla
from ae_jax.spec import from_dict, to_dict
from ae_jax.training import fit

pytestmark = pytest.mark.usefixtures("compiled_once")
SPECS = {
    "synth_sae": SynthSAE(features=60, dim=7, roots=8, children=3, depth=1, rank=4, steps=3),
    "matryoshka_toy": MatryoshkaToy(),
    "superposition": Superposition(features=6, sparsity=0.7),
}
LAWS = {}


@pytest.fixture(params=SPECS)
def law(request):
    if request.param not in LAWS:
        LAWS[request.param] = SPECS[request.param].build(7)
    return LAWS[request.param]


def test_x_is_the_activations_times_the_features(law):
    batch = law.data(100, activations=True).read(np.arange(100))
    a, features, bias = (
        np.asarray(v, np.float64) for v in (batch["activations"], law.features, law.bias)
    )
    assert a.shape == (100, len(law.features)) and (a >= 0).all() and 0.02 < (a > 0).mean() < 0.5
    np.testing.assert_allclose(batch["x"], a @ features + bias, rtol=1e-4, atol=1e-5)
    plain = law.data(100)
    assert set(plain) == {"x"}
    np.testing.assert_allclose(plain.read(np.arange(100))["x"], batch["x"], rtol=1e-5, atol=1e-5)


def test_a_row_does_not_depend_on_its_batch(law):
    data = law.data(1000, activations=True)
    batch = data.read(np.arange(64))
    for rows in ([5], [63, 5, 5, 0], [2**31 - 1, 17, 40]):
        some = data.read(rows)
        known = [i for i, row in enumerate(rows) if row < 64]
        want = {name: column[[rows[i] for i in known]] for name, column in batch.items()}
        np.testing.assert_array_equal(some["activations"][known] > 0, want["activations"] > 0)
        for name in data:
            np.testing.assert_allclose(some[name][known], want[name], rtol=1e-5, atol=1e-5)


def test_jit_equals_eager(law):
    data, rows = law.data(1000, activations=True), jnp.array([3, 900, 2**31 - 1], jnp.int32)
    compiled = jax.jit(lambda data: data.at(rows))(data)
    with jax.disable_jit():
        eager = data.at(rows)
    for name in data:
        np.testing.assert_allclose(compiled[name], eager[name], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", SPECS)
def test_rows_are_the_same_in_double_precision_mode(kind):
    want = SPECS[kind].build(7).data(50, activations=True).read(np.arange(5))
    with jax.enable_x64(True):
        got = SPECS[kind].build(7).data(50, activations=True).read(np.arange(5))
    for name, column in want.items():
        assert got[name].dtype == column.dtype == np.float32
        np.testing.assert_allclose(got[name], column, rtol=1e-5, atol=1e-5)


def test_seeds_and_rows_give_independent_draws(law):
    rows = np.arange(200)
    one = law.data(9, activations=True).read(rows)["activations"]
    again = law.data(9, activations=True).read(rows)["activations"]
    other = law.data(9, activations=True, seed=1).read(rows)["activations"]
    np.testing.assert_array_equal(one, again)
    overlap = (one > 0) & (other > 0)
    assert not (one[overlap] == other[overlap]).all() or law.spec.kind == "matryoshka_toy"
    assert ((one > 0) != (other > 0)).any(1).mean() > 0.5
    assert len(np.unique(one, axis=0)) > 20


def test_constants_are_a_function_of_the_seed(law):
    again, other = law.spec.build(7), law.spec.build(8)
    np.testing.assert_array_equal(law.features, again.features)
    if law.spec.kind != "superposition":
        assert not np.allclose(law.features, other.features)


def test_the_fingerprint_names_the_law_and_both_seeds(law):
    def of(law, **kwargs):
        return {"train": fingerprint(law.data(50, **kwargs))}

    assert changes(of(law), of(law)) == []
    for changed in (of(law, seed=1), of(law.spec.build(8)), of(law, fresh=False)):
        assert changes(of(law), changed) == ["train 'x' has other values"]


def test_the_specification_is_plain_data(law):
    assert from_dict(type(law.spec), to_dict(law.spec)) == law.spec
    parents = law.parents
    assert parents.shape == (len(law.features),) and (parents < np.arange(len(parents))).all()


def test_fit_trains_on_it(law):
    ae = Vanilla(latent_dim=3, loss="mse").build(law.features.shape[1:])
    result = fit(ae, law.data(64), epochs=3, batch_size=16, eval_data=law.data(20, seed=1))
    losses = [row["loss"] for row in result.history if row["split"] == "test"]
    assert len(losses) == 3 and losses[-1] < losses[0]


@pytest.mark.parametrize("seed", [-1, 2**32, 0.5])
def test_seeds_that_do_not_exist(seed):
    spec = SPECS["superposition"]
    with pytest.raises(ValueError, match=f"seed={seed}: must be an integer in"):
        spec.build(seed)
    with pytest.raises(ValueError, match=f"seed={seed}: must be an integer in"):
        spec.build().data(10, seed=seed)


def test_a_law_of_ones_own_needs_three_methods():
    for method in (lambda s: s.constants(None), lambda s: s.draw({}, None, activations=True)):
        with pytest.raises(NotImplementedError):
            method(FeatureSpec())
