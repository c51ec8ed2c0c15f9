"""Controls: dictionaries with random tables, and rows of all of them."""

from dataclasses import replace

import numpy as np
import optax
import pytest

from ae_jax.core import by_path
from ae_jax.evaluation.dictionaries.controls import (
    dictionary_rows,
    frozen_control,
    random_control,
)
from ae_jax.models import Dictionary, Vanilla
from ae_jax.sparsifiers import BatchTopK, TopK
from ae_jax.training import fit, make_train_step

SPEC = Dictionary(
    width=12,
    sparsifier=BatchTopK(active=3),
    center="mean",
    normalize=True,
    start="data",
    dead_weight=0.0,
)
DIM = 5
RNG = np.random.default_rng(0)
X = np.float32(7.0 + 3.0 * RNG.normal(size=(300, DIM)))


def test_a_random_dictionary_has_the_scale_of_the_data_and_a_threshold():
    ae = SPEC.build((DIM,))
    variables = random_control(ae, {"x": X}, seed=3)
    scale = variables["statistics"]["x_scale"]
    np.testing.assert_allclose(scale, np.sqrt(np.square(X).mean()), rtol=1e-5)
    np.testing.assert_allclose(variables["params"]["bias"], X.mean(0) / scale, rtol=1e-4)
    decoder = np.asarray(variables["params"]["decoder"])
    toward = (X - X.mean(0)) / np.linalg.norm(X - X.mean(0), axis=1, keepdims=True)
    assert (decoder @ toward.T).max() < 1 - 1e-5  # no example's direction, though start="data"
    np.testing.assert_allclose(np.linalg.norm(decoder, axis=1), 1, rtol=1e-5)
    l0 = (np.asarray(ae.features(variables, X)) != 0).sum(1).mean()
    assert 2 < l0 < 4.5  # as many as asked for, and not half of all
    again = random_control(ae, {"x": X}, seed=4)
    assert not np.allclose(again["params"]["decoder"], decoder)


@pytest.mark.parametrize("table", ["decoder", "encoder"])
def test_a_frozen_table_never_changes(table, numpy_state):
    spec = replace(SPEC, sparsifier=TopK(active=3), start="random", freeze=table)
    ae = spec.build((DIM,))
    tx = optax.adamw(1e-2, weight_decay=0.1)
    state = numpy_state(ae, tx)
    start = state.params
    for _ in range(2):
        state, _ = make_train_step(ae, tx)(state, {"x": X[:9]})
    other = "encoder" if table == "decoder" else "decoder"
    np.testing.assert_array_equal(state.params[table], start[table])
    assert not np.allclose(state.params[other], start[other], rtol=1e-3)
    moments = [m for path, m in by_path(state.opt_state).items() if path.endswith(table)]
    assert len(moments) == 2 and not any(np.any(m) for m in moments)


def test_rows_of_a_trained_dictionary_and_its_controls():
    """Data of few directions: learning pays, with one table and more so with both."""
    atoms = RNG.normal(size=(8, 6))
    codes = np.where(RNG.random((600, 8)) < 0.2, RNG.random((600, 8)) + 0.5, 0.0)
    data = {"x": np.float32(codes @ atoms)}
    spec = Dictionary(width=16, sparsifier=TopK(active=3), dead_weight=0.0)
    ae = spec.build((6,))
    options = {"epochs": 40, "batch_size": 50, "optimizer": 1e-2}
    named = {
        "trained": fit(ae, data, **options).state.variables,
        "frozen": frozen_control(ae, data, **options),
        "random": random_control(ae, data),
    }
    rows = dictionary_rows(ae, named, data)
    assert rows.keys() == named.keys()
    variance = [row["explained_variance"] for row in rows.values()]
    assert variance[0] > variance[1] + 0.05 > variance[2] + 0.1
    assert all(0 < row["largest_cosine"] <= 1 for row in rows.values())


def test_what_cannot_be_frozen_is_one_line():
    ae = Vanilla(loss="mse").build((DIM,))
    with pytest.raises(ValueError, match="Vanilla is no Dictionary"):
        frozen_control(ae, {"x": X}, steps=1)
    for option, says in (({"tied": True}, "a tied dictionary"), ({"resample_every": 5}, "resampl")):
        with pytest.raises(ValueError, match=f"freeze='decoder': {says}"):
            replace(SPEC, freeze="decoder", **option)
