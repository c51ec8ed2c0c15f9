"""Flows against automatic differentiation, their own inverses, and NumPyro."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpyro.distributions.flows import InverseAutoregressiveTransform

from ae_jax.networks.autoregressive import AffineAutoregressive
from ae_jax.networks.coupling import AffineCoupling
from ae_jax.networks.flow import Flow
from ae_jax.networks.made import MADE
from ae_jax.networks.planar import Planar, Radial

D = 3
RNG = np.random.default_rng(0)
X = jnp.float32(1.5 * RNG.normal(size=(6, D)))
H = jnp.float32(RNG.normal(size=(6, 4)))
NET = (D, (7, 5), "tanh")
STEPS = {
    "planar": lambda: Planar(D),
    "radial": lambda: Radial(D),
    "coupling": lambda: AffineCoupling(*NET),
    "autoregressive": lambda: AffineAutoregressive(*NET),
    "gates": lambda: AffineAutoregressive(*NET, gates=True),
}
INVERTIBLE = ["coupling", "autoregressive", "gates"]


def drawn(module, *inputs, **options):
    """Parameters that are far from the identity."""
    shapes = jax.eval_shape(partial(module.init, **options), jax.random.key(0), *inputs)
    return jax.tree.map(lambda s: jnp.float32(RNG.normal(scale=0.8, size=s.shape)), shapes)


def made(name, count=1):
    flow = Flow(tuple(STEPS[name]() for _ in range(count)))
    return flow, drawn(flow, X, H)


def slogdet(jacobian):
    return np.linalg.slogdet(np.float64(jacobian))[1]


@pytest.mark.parametrize("name", STEPS)
def test_log_determinants_are_those_of_the_jacobian_and_inverses_take_it_back(name):
    flow, variables = made(name, 2)
    close = partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-3)

    @jax.jit
    def forward(x, h):
        jacobian = jax.vmap(jax.jacobian(lambda x, h: flow.apply(variables, x, h)[0]))(x, h)
        return *flow.apply(variables, x, h), jacobian, flow.apply(variables, x[None], h)[0][0]

    y, log_det, jacobian, broadcast = forward(X, H)
    close(log_det, slogdet(jacobian))
    assert np.abs(log_det).min() > 1e-2
    np.testing.assert_allclose(broadcast, y, rtol=1e-5)
    if name in INVERTIBLE:
        x, back = jax.jit(partial(flow.apply, method="inverse"))(variables, y, H)
        close(x, X)
        close(back, -log_det)


def test_an_autoregressive_step_is_that_of_numpyro():
    """With the network of ours."""
    step = STEPS["autoregressive"]()
    variables = drawn(step, X)

    def network(x):
        log_scale, shift = step.apply(variables, x, None, method="_affine")
        return shift, log_scale

    theirs = InverseAutoregressiveTransform(network)

    @jax.jit
    def both(x):
        y, log_det = step.apply(variables, x)
        ours = y, log_det, step.apply(variables, y, method="inverse")[0]
        return ours, (theirs(x), theirs.log_abs_det_jacobian(x, y), theirs.inv(y))

    for mine, other in zip(*both(X), strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-3, atol=1e-4)


def test_gates_are_the_convex_combination_of_the_paper():
    """y = g x + (1 - g) m, as Kingma et al. (2016) write it, and g starts near sigmoid(2)."""
    step = STEPS["gates"]()
    variables = drawn(step, X, H)

    @jax.jit
    def both(x, h):
        bound = step.bind(variables)
        return bound.network(x, bound.context(h)), bound(x, h)

    outputs, (y, log_det) = both(X, H)
    raw, m = np.moveaxis(np.float64(outputs), -1, 0)
    gate = 1 / (1 + np.exp(-(raw + 2)))
    np.testing.assert_allclose(y, gate * X + (1 - gate) * m, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(log_det, np.log(gate).sum(1), rtol=1e-5)
    _, start = jax.jit(lambda key: step.apply(step.init(key, X, H), X, H))(jax.random.key(0))
    np.testing.assert_allclose(start, D * np.log(1 / (1 + np.exp(-2.0))), atol=0.2)


@pytest.mark.parametrize("size", [1, 2, 5])
def test_outputs_of_made_depend_on_all_inputs_before_them_and_no_others(size):
    network = MADE(size, 2, (11, 13), "tanh")
    x = jnp.float32(RNG.normal(size=size))
    context = jnp.float32(RNG.normal(size=11))
    variables = drawn(network, x, context)
    jacobian = jax.jit(jax.jacobian(partial(network.apply, variables), argnums=(0, 1)))
    by_x, by_context = jacobian(x, context)
    before = np.tril(np.ones((size, size), bool), -1)
    np.testing.assert_array_equal(np.abs(by_x).min(1) > 0, before)
    np.testing.assert_array_equal(np.abs(by_x).max(1) > 0, before)
    assert (np.abs(by_context).max(-1) > 0).all()


def by_bisection(fn, target):
    """x with fn(x) = target, of an increasing function in float64."""
    low, high = target - 50.0, target + 50.0
    for _ in range(60):
        middle = (low + high) / 2
        below = fn(middle) < target
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return middle


@pytest.mark.parametrize("kind", ["planar", "radial"])
def test_densities_of_bent_gaussians_integrate_to_one(kind):
    """Over a grid of z: each point is taken back in float64, then mapped by the step."""
    step = {"planar": Planar, "radial": Radial}[kind](2)
    h = jnp.float32(RNG.normal(size=(1, 4)))
    variables = drawn(step, X[:1, :2], h)
    bound, axis = step.bind(variables), np.linspace(-9, 9, 181)
    z = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)
    if kind == "planar":
        w, b = np.split(np.float64(bound.plane(h))[0], [2])
        u = np.float64(bound.bend(h))[0]
        u = u + (np.log1p(np.exp(w @ u)) - 1 - w @ u) * w / (w @ w)
        at = by_bisection(lambda a: a + w @ u * np.tanh(a + b), z @ w)
        e = z - np.tanh(at + b)[:, None] * u
    else:
        alpha, s = np.log1p(np.exp(np.float64(bound.shape(h))[0]))
        center = np.float64(bound.center(h))[0]
        away = np.linalg.norm(z - center, axis=1)
        r = by_bisection(lambda r: r * (1 + (s - alpha) / (alpha + np.abs(r))), away)
        e = center + (z - center) * (r / away)[:, None]
    y, log_det = jax.jit(step.apply)(variables, jnp.float32(e), h)
    np.testing.assert_allclose(y, z, atol=1e-4)
    log_prob = -0.5 * (e**2).sum(1) - np.log(2 * np.pi) - np.float64(log_det)
    assert np.exp(log_prob).sum() * (axis[1] - axis[0]) ** 2 == pytest.approx(1, abs=2e-3)
