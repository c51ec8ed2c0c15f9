"""Losses against float64 NumPy references, finite differences and their invariants."""

import subprocess
import sys
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from scipy.special import expit, log_expit, log_softmax, logsumexp
from scipy.stats import betabinom, nbinom, poisson

from ae_jax import losses

B, EVENT = 5, (3, 4)
SLOW = pytest.mark.slow


def softplus(a):
    return np.logaddexp(0.0, a)


def expm(a):
    return np.exp(a)


def huber64(recon, x, delta=1.0):
    e = np.abs(recon - x)
    return np.where(e <= delta, 0.5 * e**2, delta * (e - 0.5 * delta))


def kl64(mean, logvar, prior_mean=0.0, prior_logvar=0.0):
    var, prior_var = expm(logvar), expm(prior_logvar)
    return 0.5 * (
        prior_logvar - logvar + var / prior_var + (mean - prior_mean) ** 2 / prior_var - 1.0
    )


def continuous_bernoulli64(a, x):
    return np.log(np.expm1(a) / a) - a * x


def nbinom64(log_mean, log_r, x):
    r = expm(log_r)
    return -nbinom.logpmf(x, r, r / (r + expm(log_mean)))


def categorical(*args, **options):
    *logits, x = args
    return losses.categorical_nll(jnp.stack(logits, -1), x, **options)


def categorical64(*args):
    *logits, x = args
    chosen = np.int64(x)[..., None]
    return -np.take_along_axis(log_softmax(np.stack(logits, -1), -1), chosen, -1)[..., 0]


def logistics(*args, **options):
    """A mixture of two, whose numbers are separate arrays."""
    *numbers, x = args
    params = jnp.stack([jnp.stack(pair, -1) for pair in zip(*[iter(numbers)] * 2, strict=True)], -2)
    return losses.discretized_logistic_mixture_nll(params, x, **options)


def logistics64(a, b, mean_a, mean_b, scale_a, scale_b, x):
    """With differences of distribution functions at the bounds of the levels."""
    parts = []
    for mean, scale in ((mean_a, scale_a), (mean_b, scale_b)):
        deviation = np.exp(np.maximum(scale, -7))
        upper, lower = (((2 * x + side) / 255 - 1 - mean) / deviation for side in (1, -1))
        upper, lower = np.where(x == 255, np.inf, upper), np.where(x == 0, -np.inf, lower)
        left = upper + lower < 0  # from the nearer tail, where differences are exact
        more, less = np.where(left, upper, -lower), np.where(left, lower, -upper)
        more, less = log_expit(more), log_expit(less)
        parts.append(more + np.log(-np.expm1(less - more)))
    return -logsumexp(np.stack(parts, -1) + log_softmax(np.stack([a, b], -1), -1), -1)


# name -> (loss, elementwise float64 reference, kinds of its arrays)
CASES = {
    "mse": (losses.mse, lambda r, x: (r - x) ** 2, "nn"),
    "mae": (losses.mae, lambda r, x: np.abs(r - x), "nn"),
    "huber": (losses.huber, huber64, "nn"),
    "huber-0.3": (partial(losses.huber, delta=0.3), partial(huber64, delta=0.3), "nn"),
    "bce": (losses.bce, lambda a, x: x * softplus(-a) + (1 - x) * softplus(a), "nu"),
    "gaussian_nll": (
        losses.gaussian_nll,
        lambda m, lv, x: 0.5 * (np.log(2 * np.pi) + lv + (x - m) ** 2 / expm(lv)),
        "nnn",
    ),
    "continuous_bernoulli_nll": (losses.continuous_bernoulli_nll, continuous_bernoulli64, "nu"),
    "poisson_nll": (losses.poisson_nll, lambda a, x: -poisson.logpmf(x, expm(a)), "nc"),
    "negative_binomial_nll": (losses.negative_binomial_nll, nbinom64, "nnc"),
    "beta_binomial_nll": (
        losses.beta_binomial_nll,
        lambda a, b, x: -betabinom.logpmf(x, 255, expm(a), expm(b)),
        "nnl",
    ),
    "categorical_nll": (categorical, categorical64, "nnt"),
    "discretized_logistic_mixture_nll": (logistics, logistics64, "nnnnnnl"),
    "l1_sparsity": (losses.l1_sparsity, np.abs, "n"),
    "gaussian_kl": (losses.gaussian_kl, kl64, "nn"),
    "gaussian_kl-prior": (losses.gaussian_kl, kl64, "nnnn"),
}
each = pytest.mark.parametrize("name", CASES)
# Of those that share all their code but the formula, one is enough for what the rest decides.
ALIKE = {"negative_binomial_nll", "beta_binomial_nll", "continuous_bernoulli_nll"}
most = pytest.mark.parametrize("name", [name for name in CASES if name not in ALIKE])
LARGEST = {"u": 1, "c": 40, "l": 255, "t": 1}


def arrays(name, seed=0, shape=(B, *EVENT), scale=3.0):
    """Float32 inputs: n = normal, u = uniform in [0, 1] with exact 0 and 1 among them, c = counts,
    l = levels 0 to 255, t = 0 or 1; both ends of each among them."""
    rng = np.random.default_rng(seed)
    made = []
    for kind in CASES[name][2]:
        if kind == "n":
            made.append(np.float32(scale * rng.normal(size=shape)))
        else:
            u = rng.uniform(size=shape)
            u = np.where(u < 0.1, 0.0, np.where(u > 0.9, 1.0, u))
            made.append(np.float32(u if kind == "u" else np.round(LARGEST[kind] * u)))
    return made


def compiled(name, **options):
    return jax.jit(partial(CASES[name][0], **options))


def reference(name, args):
    return CASES[name][1](*[a.astype(np.float64) for a in args])


@each
@pytest.mark.parametrize(
    "shape",
    [(B, *EVENT), (3, 784), *(pytest.param(shape, marks=SLOW) for shape in [(7,), (1, 1)])],
)
def test_matches_float64(name, shape):
    args = arrays(name, shape=shape)
    elements, axes = reference(name, args), tuple(range(1, len(shape)))
    for reduction, reduce in (("sum", np.sum), ("mean", np.mean)):
        value = compiled(name, reduction=reduction)(*args)
        assert value.shape == shape[:1]
        assert value.dtype == jnp.float32
        np.testing.assert_allclose(value, reduce(elements, axes), rtol=1e-5, atol=1e-6)


@most
def test_where_equals_slicing(name):
    args = arrays(name)
    keep = np.array([True, False, True, True])  # the last event axis
    for reduction in ("sum", "mean"):
        loss = compiled(name, reduction=reduction)
        masked, sliced = loss(*args, where=keep), loss(*[a[..., keep] for a in args])
        np.testing.assert_allclose(masked, sliced, rtol=1e-6)


@each
def test_masked_nan_reaches_no_gradient(name):
    args, where = arrays(name), np.ones((B, *EVENT), bool)
    for array, value in (*((a, np.nan) for a in args), (where, False)):
        array[:, 1, 2] = value
    value, grads = jax.jit(
        jax.value_and_grad(lambda args: CASES[name][0](*args, where=where).sum())
    )(args)
    assert jnp.isfinite(value)
    for grad in grads:
        assert jnp.isfinite(grad).all()
        assert (grad[:, 1, 2] == 0).all()


@most
def test_all_masked_is_zero(name):
    for reduction in ("sum", "mean"):
        loss = compiled(name, reduction=reduction, where=np.zeros(EVENT, bool))
        value = loss(*arrays(name))
        np.testing.assert_array_equal(value, np.zeros(B))


@each
def test_gradient_matches_finite_differences(name):
    args = [np.float64(a) for a in arrays(name)]
    grad = jax.jit(jax.grad(lambda args: CASES[name][0](*args).sum()))
    grads = grad([np.float32(a) for a in args])
    h = 1e-6
    for i, grad in enumerate(grads):
        if CASES[name][2][i] in "clt":
            continue  # whole numbers have no neighbors
        up, down = list(args), list(args)
        up[i], down[i] = args[i] + h, args[i] - h
        difference = (CASES[name][1](*up) - CASES[name][1](*down)) / (2 * h)
        np.testing.assert_allclose(grad, difference, rtol=1e-4, atol=1e-4)


@most
def test_transformations_agree(name):
    loss, args = CASES[name][0], [jnp.asarray(a) for a in arrays(name)]
    with jax.disable_jit():
        eager = loss(*args)
    np.testing.assert_allclose(jax.jit(loss)(*args), eager, rtol=1e-6)
    np.testing.assert_array_equal(loss(*args), loss(*args))  # pure
    stacked = [jnp.stack([a, 0.5 * a]) for a in args]
    looped = jnp.stack([loss(*[s[i] for s in stacked]) for i in range(2)])
    np.testing.assert_allclose(jax.vmap(loss)(*stacked), looped, rtol=1e-6)
    scanned = lax.scan(lambda carry, xs: (carry, loss(*xs)), 0, tuple(stacked))[1]
    np.testing.assert_allclose(scanned, looped, rtol=1e-6)
    np.testing.assert_allclose(jax.pmap(loss)(*stacked), looped, rtol=1e-6)


@most
@pytest.mark.parametrize("dtype", [jnp.bfloat16, pytest.param(jnp.float16, marks=SLOW)])
def test_computes_in_float32(name, dtype):
    low = [jnp.asarray(a).astype(dtype) for a in arrays(name)]
    value = CASES[name][0](*low)
    assert value.dtype == jnp.float32
    np.testing.assert_allclose(value, CASES[name][0](*[a.astype(jnp.float32) for a in low]))


@each
@pytest.mark.parametrize("size", [pytest.param(1e2, marks=SLOW), 1e4])
def test_extreme_inputs_are_finite(name, size):
    signs = np.array([[-size, -1.0, 0.0, 1.0, size]], np.float32)
    grids = np.meshgrid(*[signs] * len(CASES[name][2]), indexing="ij")
    args = [jnp.asarray(g.reshape(1, -1), jnp.float32) for g in grids]
    for i, kind in enumerate(CASES[name][2]):
        if kind != "n":
            largest = size if kind == "c" else LARGEST[kind]
            args[i] = jnp.clip(args[i], 0.0, largest)
    value, grads = jax.jit(jax.value_and_grad(lambda args: CASES[name][0](*args).sum()))(args)
    assert np.isfinite(value)
    assert all(np.isfinite(grad).all() for grad in grads)


def test_bce_is_exact_for_extreme_logits():
    logits = np.float32([[-1e4, -1e4, 1e4, 1e4, 1e4, -80.0, 20.0]])
    x = np.float32([[0.0, 1.0, 1.0, 0.0, 0.9999999, 0.0, 1.0]])
    elements = reference("bce", [logits, x])
    np.testing.assert_allclose(losses.bce(logits.T, x.T), elements[0], rtol=1e-5)
    grad = jax.grad(lambda a: losses.bce(a, x).sum())(logits)
    np.testing.assert_allclose(grad, expit(np.float64(logits)) - x, atol=1e-7)


def test_bce_is_exact_for_every_size_of_logit():
    logits = np.linspace(-100, 0, 20_001, dtype=np.float32)[:, None]
    want = np.log1p(np.exp(np.float64(logits[:, 0])))
    np.testing.assert_allclose(
        losses.bce(logits, np.zeros_like(logits)), want, rtol=5e-7, atol=3e-38
    )


@pytest.mark.parametrize("elements", [784, 3072, 4096, 4097, 200_000])
def test_sums_are_exact_for_events_of_every_size(elements):
    x, y = np.random.default_rng(0).random((2, 2, elements), np.float32)
    want = ((np.float64(x) - np.float64(y)) ** 2).sum(1)
    exact = 5e-7 if jax.__version_info__ >= (0, 10, 2) else 1.5e-6
    np.testing.assert_allclose(losses.mse(x, y), want, rtol=exact)


def test_bce_gradient_of_gradient():
    logits, x = jnp.linspace(-4, 4, 9), jnp.linspace(0, 1, 9)
    second = jax.vmap(jax.grad(jax.grad(lambda a, t: losses.bce(a[None], t[None])[0])))(logits, x)
    p = jax.nn.sigmoid(logits)
    np.testing.assert_allclose(second, p * (1 - p), rtol=1e-5)


def test_gaussian_kl_near_the_prior():
    """A collapsed unit: float32 must not lose the KL to cancellation, nor make it negative."""
    for d in (1e-6, 1e-4, 1e-2, 0.09, 0.11, -1e-3, -0.5):
        logvar = np.full((1, 1), d, np.float32)
        d64 = logvar.astype(np.float64)
        exact = 0.5 * (np.expm1(d64) - d64)
        if abs(d) < 1e-3:  # the reference cancels too: use its series
            exact = 0.5 * (d64**2 / 2 + d64**3 / 6 + d64**4 / 24)
        value = losses.gaussian_kl(np.zeros((1, 1), np.float32), logvar)
        np.testing.assert_allclose(value, exact[0], rtol=1e-5)


def test_gaussian_kl_is_a_monte_carlo_mean():
    mean, logvar, prior_mean, prior_logvar = 0.7, -0.4, -0.2, 0.3
    z = mean + np.exp(0.5 * logvar) * np.random.default_rng(0).normal(size=(400_000, 1))
    ones = np.ones_like(z)
    log_q = -losses.gaussian_nll(mean * ones, logvar, z)
    log_p = -losses.gaussian_nll(prior_mean * ones, prior_logvar, z)
    exact = losses.gaussian_kl([[mean]], [[logvar]], prior_mean, prior_logvar)
    np.testing.assert_allclose((log_q - log_p).mean(), exact[0], rtol=0.01)


class TestSparsityKL:
    activations = np.float32(np.random.default_rng(0).uniform(0.02, 0.9, size=(8, 3)))

    def exact(self, activations, target):
        q = np.float64(activations).mean(0)
        return (target * np.log(target / q) + (1 - target) * np.log((1 - target) / (1 - q))).sum()

    def test_matches_float64(self):
        for target in (0.01, 0.1, 0.5):
            value = losses.sparsity_kl(self.activations, target)
            assert value.shape == ()
            np.testing.assert_allclose(value, self.exact(self.activations, target), rtol=1e-5)

    def test_where_equals_slicing(self):
        where = np.arange(8) < 5
        value = losses.sparsity_kl(self.activations, 0.1, where=where)
        np.testing.assert_allclose(value, self.exact(self.activations[:5], 0.1), rtol=1e-5)

    def test_dead_and_saturated_units_are_finite(self):
        for value in (0.0, 1.0):
            full = jnp.full((4, 2), value)
            kl, grad = jax.value_and_grad(lambda a: losses.sparsity_kl(a, 0.1))(full)
            assert jnp.isfinite(kl) and jnp.isfinite(grad).all()

    @pytest.mark.parametrize("masked", [False, True])
    def test_pmap_equals_one_device(self, masked):
        where = jnp.asarray([1, 1, 1, 1, 1, 1, 1, 0] if masked else [1] * 8, jnp.float32)

        def one(a, where):
            return jax.value_and_grad(lambda s: losses.sparsity_kl(s * a, 0.1, where=where))(0.9)

        def split(a, where):
            value, grad = jax.value_and_grad(
                lambda s: losses.sparsity_kl(s * a, 0.1, where=where, axis_name="data")
            )(0.9)
            return value, lax.pmean(grad, "data")

        expected = one(self.activations, where)
        pmapped = jax.pmap(split, axis_name="data")(
            self.activations.reshape(4, 2, 3), where.reshape(4, 2)
        )
        for want, got in zip(expected, pmapped, strict=True):
            np.testing.assert_allclose(got, np.full(4, want), rtol=1e-5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: losses.mse(np.ones((2, 3)), np.ones((2, 4))), r"\(2, 3\), x \(2, 4\)"),
        (lambda: losses.mse(np.ones((2, 1)), np.ones(2)), r"\(2, 1\), x \(2,\)"),
        (lambda: losses.bce(1.0, 1.0), "scalar"),
        (lambda: losses.mae(np.ones(2), np.ones(2), reduction="max"), "reduction='max'"),
        (lambda: losses.mse(np.ones(2), np.ones(2), where=np.ones(3)), r"where has shape \(3,\)"),
        (lambda: losses.gaussian_kl(np.ones(2), np.ones(2), np.ones(3)), "prior_mean has shape"),
        (lambda: losses.sparsity_kl(np.ones((2, 3)), 0.1, where=np.ones(3)), "batch axis"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_import_is_light():
    """The borrower imports the losses alone: no data, checkpoint or plotting package with them."""
    heavy = ("tensorflow_datasets", "orbax", "matplotlib", "sklearn", "tensorflow", "flax")
    code = f"import sys, ae_jax.losses; print([m for m in {heavy} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
