import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ae_jax.data import array_record
from ae_jax.evaluation import PCA, fit_pca


def correlated(n=200, shape=(6, 5), *, seed=0):
    rng = np.random.default_rng(seed)
    d = int(np.prod(shape))
    rows = rng.normal(size=(n, d)) * np.linspace(2, 0.1, d) @ rng.normal(size=(d, d)) / d + 3
    return rows.reshape(n, *shape)


def test_agrees_with_the_singular_value_decomposition():
    x = correlated()
    rows = x.reshape(len(x), -1)
    _, sizes, axes = np.linalg.svd(rows - rows.mean(axis=0), full_matrices=False)
    pca = fit_pca(x, 4)
    np.testing.assert_allclose(pca.mean, rows.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(pca.explained_variance, sizes[:4] ** 2 / len(x), rtol=1e-5)
    np.testing.assert_allclose(np.abs(np.sum(pca.components * axes[:4], axis=1)), 1, rtol=1e-6)


def test_components_are_orthonormal_and_oriented_and_codes_uncorrelated():
    x = correlated()
    pca = fit_pca(x, 5)
    np.testing.assert_allclose(pca.components @ pca.components.T, np.eye(5), atol=1e-6)
    assert (
        np.take_along_axis(pca.components, np.abs(pca.components).argmax(1)[:, None], 1) > 0
    ).all()
    z = np.asarray(pca.encode(x), np.float64)
    np.testing.assert_allclose(z.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(z.T @ z / len(z), np.diag(pca.explained_variance), atol=1e-5)


def test_lost_variance_is_the_squared_error():
    """Eckart & Young: the error is the variance of the components left out."""
    x = correlated()
    pca = fit_pca(x, 3)
    error = np.sum((np.asarray(pca.decode(pca.encode(x))) - x) ** 2) / len(x)
    total = np.sum((x - x.mean(axis=0)) ** 2) / len(x)
    np.testing.assert_allclose(error, total - pca.explained_variance.sum(), rtol=1e-4)


def test_all_components_lose_nothing():
    x = correlated()
    pca = fit_pca(x, 30)
    np.testing.assert_allclose(pca.decode(pca.encode(x)), x, atol=1e-4)


def test_any_other_subspace_is_worse():
    x = correlated()
    pca = fit_pca(x, 2)
    best = np.sum((pca.decode(pca.encode(x)) - x) ** 2)
    for seed in range(5):
        turned = pca.components + 0.1 * np.random.default_rng(seed).normal(size=(2, 30))
        other = pca.replace(components=jnp.float32(np.linalg.qr(turned.T)[0].T))
        assert np.sum((other.decode(other.encode(x)) - x) ** 2) > best


def test_chunks_change_nothing():
    x = correlated()
    whole, parts = fit_pca(x, 4), fit_pca(x, 4, chunk_size=7)
    for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(parts), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_a_large_offset_does_not_drown_the_variance():
    x = correlated()
    np.testing.assert_allclose(
        fit_pca(x + 1e4, 4).explained_variance, fit_pca(x, 4).explained_variance, rtol=1e-6
    )


def test_uint8_is_read_as_fractions_of_255():
    x = np.random.default_rng(0).integers(0, 256, (50, 4, 4, 1), dtype=np.uint8)
    pixels = (x / 255).astype(np.float32)
    a, b = fit_pca(x, 3), fit_pca(pixels, 3)
    np.testing.assert_allclose(a.components, b.components, atol=1e-5)
    np.testing.assert_allclose(a.encode(x), a.encode(pixels), atol=1e-6)


def test_is_a_pytree_of_arrays_that_works_under_transformations():
    x = correlated()
    pca = fit_pca(x, 3)
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(pca))
    z = jax.jit(PCA.encode)(pca, x)
    np.testing.assert_allclose(z, pca.encode(x), atol=1e-5)
    assert jax.jit(PCA.decode)(pca, z).shape == x.shape
    gradient = jax.jit(jax.grad(lambda x: pca.encode(x[None])[0].sum()))(np.float32(x[0]))
    np.testing.assert_allclose(gradient.ravel(), pca.components.sum(axis=0), atol=1e-6)


def test_no_rows_give_no_codes():
    pca = fit_pca(correlated(), 3)
    assert pca.encode(jnp.zeros((0, 6, 5))).shape == (0, 3)
    assert pca.decode(jnp.zeros((0, 3))).shape == (0, 6, 5)


@pytest.mark.parametrize("latent_dim", [0, -1, 11, 31])
def test_latent_dim_beyond_the_data_is_refused(latent_dim):
    with pytest.raises(ValueError, match=rf"between 1 and min\(N, D\) = 10 .*got {latent_dim}"):
        fit_pca(correlated(10), latent_dim)


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (np.zeros(5), ValueError, r"\(5,\)"),
        (np.zeros((0, 5)), ValueError, r"\(0, 5\)"),
        (np.full((5, 5), np.nan), ValueError, "finite"),
        (np.zeros((5, 5), np.int32), TypeError, "int32"),
    ],
)
def test_bad_data_is_refused(x, error, message):
    with pytest.raises(error, match=message):
        fit_pca(x, 1)


def test_encode_refuses_other_shapes_and_types():
    pca = fit_pca(correlated(), 2)
    with pytest.raises(ValueError, match=r"\(3, 5, 6\)"):
        pca.encode(np.zeros((3, 5, 6), np.float32))
    with pytest.raises(TypeError, match="int32"):
        pca.encode(np.zeros((3, 6, 5), np.int32))


@pytest.mark.slow
def test_mnist_error_is_the_published_one(real_data):
    """Hinton & Salakhutdinov (2006), figure 2: 30 components leave 13.87 per test image."""
    folder = array_record.find(real_data, "mnist")
    train, test = (array_record.load_prepared(folder, split)["x"] for split in ("train", "test"))
    pca = fit_pca(train, 30)
    errors = (np.asarray(pca.decode(pca.encode(test)), np.float64) - test / 255) ** 2
    assert abs(errors.sum() / len(test) - 13.87) < 0.005
