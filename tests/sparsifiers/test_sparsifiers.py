"""Each sparsifier against its formula in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ae_jax.sparsifiers import (
    BatchTopK,
    Context,
    DenseCode,
    Gated,
    JumpReLU,
    L1Sparsifier,
    MatchingPursuit,
    SparseCode,
    Tables,
    TopK,
)

ROWS, DIM, WIDTH = 6, 4, 10


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def tables():
    rng = np.random.default_rng(0)
    encoder, decoder = rng.normal(size=(2, WIDTH, DIM))
    bias, norms = rng.normal(size=WIDTH), rng.uniform(0.5, 2.0, WIDTH)
    return Tables(*map(jnp.float32, (encoder, bias, unit(decoder))), norms=jnp.float32(norms))


@pytest.fixture(scope="module")
def x():
    return jnp.float32(np.random.default_rng(1).normal(size=(ROWS, DIM)))


def context(step=0, rows=None, axis_name=None):
    rows = jnp.ones(ROWS) if rows is None else jnp.float32(rows)
    return Context(rows, jnp.int32(step), axis_name)


def run(spec, x, tables, context, variables=None, train=False):
    module = spec.module(WIDTH)
    variables = variables or module.init(jax.random.key(0), x, tables, context)
    mutable = [name for name in variables if name != "params"] if train else False
    return module.apply(variables, x, tables, context, mutable=mutable)


def pre(x, tables):
    return np.float64(x) @ np.float64(tables.encoder).T + np.float64(tables.bias)


def test_top_k_takes_what_adds_most(x, tables):
    code, _ = run(TopK(active=3), x, tables, context())
    want, p = np.zeros((ROWS, WIDTH)), pre(x, tables)
    for row in range(ROWS):
        chosen = np.argsort(-p[row] * np.float64(tables.norms))[:3]
        want[row, chosen] = np.maximum(p[row, chosen], 0)
    np.testing.assert_allclose(code.dense(WIDTH), want, rtol=1e-5, atol=1e-6)
    again, _ = (
        TopK(active=3).module(WIDTH).apply({}, tables.pre(x), tables, context(), method="activate")
    )
    np.testing.assert_allclose(again.dense(WIDTH), want, rtol=1e-5, atol=1e-6)


def test_batch_top_k_selects_of_real_rows_and_learns_its_threshold(x, tables):
    rows = [1, 1, 1, 1, 0, 0]
    spec = BatchTopK(active=2, momentum=0.9)
    variables = {"latents": {"threshold": jnp.float32(0.0)}}
    (code, _), state = run(spec, x, tables, context(0, rows), variables, train=True)
    size = pre(x, tables) * np.float64(tables.norms)
    least = np.sort(size[:4].ravel())[-8]
    want = np.where(size >= least, pre(x, tables), 0)
    np.testing.assert_allclose(code.z[:4], want[:4], rtol=1e-5)
    assert (np.asarray(code.z[:4]) > 0).sum() == 8
    np.testing.assert_allclose(state["latents"]["threshold"], least, rtol=1e-5)
    # Later batches move the average, and after training the threshold decides.
    old = {"latents": {"threshold": jnp.float32(1.0)}}
    (_, _), state = run(spec, x, tables, context(7, rows), old, train=True)
    np.testing.assert_allclose(state["latents"]["threshold"], 0.9 + 0.1 * least, rtol=1e-5)
    code, _ = run(spec, x, tables, context(), old)
    np.testing.assert_allclose(code.z, np.where(size > 1, pre(x, tables), 0), rtol=1e-5)


def test_batch_top_k_without_active_latents_keeps_its_threshold(x, tables):
    low = tables._replace(bias=jnp.full(WIDTH, -100.0))
    old = {"latents": {"threshold": jnp.float32(1.5)}}
    (code, _), state = run(BatchTopK(active=2), x, low, context(3), old, train=True)
    assert not np.any(code.z) and state["latents"]["threshold"] == 1.5


def test_l1_weighs_activations_by_norms(x, tables):
    code, outputs = run(L1Sparsifier(weight=0.3, warmup_steps=4), x, tables, context(1))
    z = np.maximum(pre(x, tables), 0)
    np.testing.assert_allclose(code.z, z, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(outputs["penalty"], (z * np.float64(tables.norms)).sum(1), rtol=1e-5)
    np.testing.assert_allclose(outputs["coefficient"], 0.3 * 2 / 4)


@pytest.mark.parametrize(("step", "power"), [(0, 1.0), (10, 1.0), (15, 0.75), (20, 0.5), (99, 0.5)])
def test_annealed_powers_are_as_large_as_the_l1_norm(step, power, x, tables):
    spec = L1Sparsifier(last_power=0.5, anneal_from=10, anneal_to=20)
    rows = [1, 1, 1, 1, 1, 0]
    _, outputs = run(spec, x, tables, context(step, rows))
    size = np.maximum(pre(x, tables), 0) * np.float64(tables.norms)
    powers = np.where(size > 0, size**power, 0).sum(1)
    want = powers * size[:5].sum() / powers[:5].sum()
    np.testing.assert_allclose(outputs["penalty"], want, rtol=1e-5)


def test_jump_relu_counts_active_latents(x, tables):
    spec = JumpReLU(threshold=0.4, weight=2.0)
    code, outputs = run(spec, x, tables, context())
    p = pre(x, tables)
    np.testing.assert_allclose(code.z, np.where(p > 0.4, p, 0), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(outputs["penalty"], (p > 0.4).sum(1))
    assert outputs["coefficient"] == 2.0


def test_gated_magnitudes_and_gates_are_apart(x, tables):
    rng = np.random.default_rng(3)
    scale, shift = rng.normal(size=(2, WIDTH))
    params = {"log_scale": jnp.float32(scale), "magnitude_bias": jnp.float32(shift)}
    code, outputs = run(Gated(), x, tables, context(), {"params": params})
    p = pre(x, tables)
    magnitude = np.exp(scale) * (p - np.float64(tables.bias)) + shift
    want = np.where(p > 0, np.maximum(magnitude, 0), 0)
    np.testing.assert_allclose(code.z, want, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(outputs["gate"], np.maximum(p, 0), rtol=1e-5, atol=1e-6)
    size = np.maximum(p, 0) * np.float64(tables.norms)
    np.testing.assert_allclose(outputs["penalty"], size.sum(1), rtol=1e-5)


def test_matching_pursuit_is_greedy(x, tables):
    code, _ = run(MatchingPursuit(active=3), x, tables, context())
    directions = np.float64(tables.decoder)
    for row in range(ROWS):
        rest, want = np.float64(x[row]), np.zeros(WIDTH)
        for _ in range(3):
            products = directions @ rest
            best = products.argmax()
            want[best] += max(products[best], 0)
            rest = rest - max(products[best], 0) * directions[best]
        np.testing.assert_allclose(code.dense(WIDTH)[row], want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("spec", [L1Sparsifier, JumpReLU, Gated])
def test_a_coefficient_is_tuned_to_a_number_of_active_latents(spec, x, tables):
    few, many = spec(target_l0=1e-3, tuning_rate=0.1), spec(target_l0=100.0, tuning_rate=0.1)
    for tuned, sign in ((few, 1), (many, -1)):
        variables = tuned.module(WIDTH).init(jax.random.key(0), x, tables, context())
        (_, outputs), state = run(tuned, x, tables, context(), variables, train=True)
        np.testing.assert_allclose(outputs["coefficient"], tuned.weight)
        (change,) = jax.tree.leaves(state)
        assert 0 < sign * change <= 0.1001  # limited, however far away the number is
        _, outputs = run(tuned, x, tables, context(), {**variables, **state})
        np.testing.assert_allclose(outputs["coefficient"], tuned.weight * np.exp(change), rtol=1e-5)


def test_codes_agree_whatever_their_form():
    values, indices = jnp.array([[2.0, 0.0], [1.0, 3.0]]), jnp.array([[1, 0], [3, 1]])
    sparse = SparseCode(values, indices)
    dense = DenseCode(sparse.dense(5))
    decoder = jnp.float32(np.random.default_rng(0).normal(size=(5, 3)))
    rows = jnp.array([1.0, 0.0])
    for sizes in ((2, 5), jnp.array([2, 5])):
        pair = [code.decode_prefixes(decoder, sizes) for code in (sparse, dense)]
        np.testing.assert_allclose(*pair, rtol=1e-6)
    np.testing.assert_allclose(sparse.decode(decoder), dense.decode(decoder), rtol=1e-6)
    assert sparse.active().tolist() == dense.active().tolist() == [1.0, 2.0]
    fired = [code.fired(5, rows).tolist() for code in (sparse, dense)]
    assert fired == [[False, True, False, False, False]] * 2


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: TopK(active=0), "active=0: must be at least 1"),
        (lambda: BatchTopK(active=0), "active=0"),
        (lambda: BatchTopK(momentum=1.0), "momentum=1.0: must be in"),
        (lambda: MatchingPursuit(active=0), "active=0"),
        (lambda: L1Sparsifier(weight=0.0), "weight=0.0: must be positive"),
        (lambda: L1Sparsifier(last_power=0.0), "last_power=0.0"),
        (lambda: L1Sparsifier(anneal_from=5, anneal_to=5), "must be after anneal_from=5"),
        (lambda: JumpReLU(threshold=0.0), "threshold=0.0"),
        (lambda: JumpReLU(bandwidth=-1.0), "bandwidth=-1.0"),
        (lambda: Gated(target_l0=0.0), "target_l0=0.0"),
        (lambda: Gated(warmup_steps=-1), "warmup_steps=-1"),
    ],
)
def test_bad_options_are_refused(make, says):
    with pytest.raises(ValueError, match=says):
        make()
