"""The scikit-learn estimator of a dictionary: sparse and dense results, and known components."""

import numpy as np
import pytest
from scipy.sparse import csr_matrix, issparse
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from ae_jax.models import Dictionary
from ae_jax.sklearn import SparseDictionary
from ae_jax.sklearn.dictionary import SPARSIFIERS
from ae_jax.sparsifiers import BatchTopK, TopK

pytestmark = pytest.mark.usefixtures("compiled_once")


@pytest.fixture(scope="module")
def rows():
    """Sums of 2 of 6 orthogonal components, far from 0 and in large units."""
    rng = np.random.default_rng(0)
    components = np.linalg.qr(rng.normal(size=(8, 8)))[0][:6]
    active = np.argsort(rng.random((300, 6)), axis=1) < 2
    codes = np.where(active, rng.uniform(0.5, 1.5, (300, 6)), 0.0)
    return 100.0 + 20.0 * codes @ components


@pytest.fixture(scope="module")
def fitted(rows):
    model = SparseDictionary(12, n_nonzero_coefs=3, epochs=2, sparse_output=True, random_state=0)
    return model.fit(rows)


def test_rows_are_sums_of_components(fitted, rows):
    z = fitted.transform(rows)
    assert isinstance(z, csr_matrix) and z.shape == (300, 12) and z.dtype == np.float32
    assert z.nnz and z.getnnz(axis=1).max() <= 3
    assert fitted.components_.shape == (12, 8) and fitted.intercept_.shape == (8,)
    recon = fitted.inverse_transform(z)
    np.testing.assert_allclose(recon, z @ fitted.components_ + fitted.intercept_, rtol=1e-5)
    np.testing.assert_allclose(fitted.inverse_transform(z.toarray()), recon, rtol=1e-6)
    want = -((rows - recon) ** 2).mean(axis=1)
    np.testing.assert_allclose(fitted.score_samples(rows), want, rtol=1e-4)
    assert fitted.score(rows) == pytest.approx(want.mean(), rel=1e-4)


def test_dense_and_sparse_results_are_the_same_numbers(fitted, rows):
    dense = clone(fitted).set_params(sparse_output=False).fit(rows)
    np.testing.assert_array_equal(dense.transform(rows), fitted.transform(rows).toarray())
    assert list(dense.get_feature_names_out()) == [f"sparsedictionary{i}" for i in range(12)]


def test_a_row_has_the_same_bits_in_any_company(fitted, rows):
    together = fitted.transform(rows).toarray()
    np.testing.assert_array_equal(fitted.transform(rows[7:8]).toarray()[0], together[7])
    np.testing.assert_array_equal(fitted.transform(rows[::-1]).toarray()[::-1], together)


def test_defaults_depend_on_the_columns(rows):
    spec = SparseDictionary()._specification(64)
    assert (spec.width, spec.sparsifier) == (256, TopK(active=6))
    assert SparseDictionary()._specification(5).sparsifier.k == 1
    assert SparseDictionary(5)._specification(64).sparsifier.k == 5  # not more than there are
    given = SparseDictionary(5, sparsifier=TopK(active=2))._specification(64)
    assert (given.width, given.sparsifier.k) == (5, 2)
    given = Dictionary(prefixes=(4, 8), width=8, sparsifier=TopK(active=2))
    spec = SparseDictionary(8, model=given, sparsifier=BatchTopK(active=5))._specification(3)
    assert (spec.prefixes, spec.sparsifier.k) == ((4, 8), 5)
    for name in SPARSIFIERS:
        assert SparseDictionary(n_nonzero_coefs=3, sparsifier=name)._specification(4).width == 16


@pytest.mark.parametrize(
    ("given", "error", "says"),
    [
        ({"n_components": 0}, ValueError, "n_components=0: must be an integer >= 1"),
        ({"n_components": 2.5}, ValueError, "n_components=2.5: must be an integer >= 1"),
        ({"n_nonzero_coefs": 99}, ValueError, "n_nonzero_coefs=99: there are 32 components"),
        ({"sparsifier": "topk"}, ValueError, "sparsifier='topk': did you mean 'top_k'"),
        ({"sparsifier": 3}, TypeError, "sparsifier=3: must be one of top_k, "),
        ({"model": "vae"}, TypeError, "model='vae': must be a Dictionary of ae_jax.models"),
        ({"model": Dictionary(target_dim=3)}, ValueError, "model.target_dim=3: X is one source"),
        ({"model": Dictionary(sources=True)}, ValueError, "model.sources=True: X is one source"),
        ({"epochs": 0}, ValueError, "epochs=0: must be an integer >= 1"),
    ],
)
def test_parameters_that_cannot_work(rows, given, error, says):
    with pytest.raises(error) as caught:
        SparseDictionary(**given).fit(rows)
    assert says in str(caught.value) and "\n" not in str(caught.value)


def test_activations_of_another_width_are_refused(fitted):
    with pytest.raises(ValueError, match="Z has 2 columns; this model has 12 components"):
        fitted.inverse_transform(csr_matrix((1, 2)))
    with pytest.raises(NotFittedError):
        _ = SparseDictionary().components_


@pytest.mark.slow
def test_the_components_of_the_data_are_found(rows):
    model = SparseDictionary(24, n_nonzero_coefs=2, epochs=300, random_state=0).fit(rows)
    recon = model.inverse_transform(model.transform(rows))
    # Measured: 0.02.
    assert ((rows - recon) ** 2).mean() < 0.1 * rows.var(axis=0).mean()


@pytest.mark.slow
@pytest.mark.parametrize("name", SPARSIFIERS)
def test_every_sparsifier_learns_digits_with_as_many_components_as_asked(name):
    x, _ = load_digits(return_X_y=True)
    model = SparseDictionary(256, n_nonzero_coefs=6, sparsifier=name, random_state=0).fit(x)
    z = model.transform(x)
    assert 4 <= (z != 0).sum(1).mean() <= 7
    share = ((x - model.inverse_transform(z)) ** 2).sum() / ((x - x.mean(0)) ** 2).sum()
    # Measured: 0.11 to 0.15, 0.3 for gated and 0.45 for l1, which shrinks.
    assert share < 0.6


@pytest.mark.slow
def test_a_pipeline_reads_sparse_activations():
    x, y = load_digits(return_X_y=True)
    coder = SparseDictionary(256, n_nonzero_coefs=12, sparse_output=True, random_state=0)
    pipe = make_pipeline(coder, LogisticRegression(max_iter=1000)).fit(x[:1400], y[:1400])
    assert issparse(pipe[0].transform(x[:3]))
    assert pipe.score(x[1400:], y[1400:]) > 0.85
