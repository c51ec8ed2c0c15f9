"""The von Mises-Fisher distribution on the unit sphere of m coordinates: ``exp(k <mean, z>)``.

Densities are with respect to the area of the sphere. In float32 they are written with 1 - cos and
not with cos, which has no digits left for large k.

Source: Davidson et al., Hyperspherical variational auto-encoders, 2018; sampling: Wood, Simulation
of the von Mises Fisher distribution, 1994, with the symmetric beta variates of Ulrich, 1984.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from ae_jax.ops.bessel import bessel_excess, bessel_growth, bessel_ratio, bessel_rest
from ae_jax.ops.sphere import log_area, unit

TINY = 1e-30
SPREADS = 10.0
"""The integrals of `_speed` end where the density has fallen by the width of this many spreads."""
NODES, WEIGHTS = np.polynomial.legendre.leggauss(40)


def log_prob(z: Array, mean: Array, kappa: Array) -> Array:
    """``log q(z)`` in nats of unit vectors z, mean [..., m] and kappa [...] >= 0: [...]."""
    m = z.shape[-1]
    z, mean, kappa = (jnp.asarray(array, jnp.float32) for array in (z, mean, kappa))
    away = jnp.square(z - mean).sum(-1) / 2  # 1 - cos
    return bessel_excess(m / 2 - 1, kappa) - kappa * away - log_area(m)


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def kl_to_uniform(m: int, kappa: Array) -> Array:
    """``KL(vMF(mean, k) || uniform)`` in nats, exact: an array like `kappa`."""
    order = m / 2 - 1
    kappa = jnp.asarray(kappa, jnp.float32)
    near = kappa * bessel_ratio(order, kappa) - bessel_growth(order, kappa)
    far = bessel_excess(order, kappa) - kappa * bessel_rest(order, kappa)
    return jnp.where(kappa < 1, near, far)


@kl_to_uniform.defjvp
def _(m: int, primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    (kappa,), (change,) = primals, tangents
    _, slope = jax.jvp(partial(bessel_ratio, m / 2 - 1), (kappa,), (jnp.ones_like(kappa),))
    return kl_to_uniform(m, kappa), kappa * slope * change


def sample(key: Array, mean: Array, kappa: Array, samples: int | None = None) -> Array:
    """Unit vectors z [B, m], or [samples, B, m], of mean [B, m] and kappa [B], reparametrized.

    The noise of a row does not depend on other rows. The gradient is that of the angle between z
    and the mean through its distribution function, and that of the mean, which carries z with it.
    Its expectation is the gradient of the expectation, with no term of the rejected draws.
    """
    rows, m = mean.shape
    shape = (rows,) if samples is None else (rows, samples)
    angle_key, side_key = jax.random.split(key)
    mean, kappa = jnp.asarray(mean, jnp.float32), jnp.asarray(kappa, jnp.float32)
    if samples is not None:
        mean, kappa = mean[:, None], jnp.broadcast_to(kappa[:, None], shape)
    angle = reparametrized(m, _angles(angle_key, lax.stop_gradient(kappa), m), kappa)[..., None]
    noise = jax.random.normal(side_key, (*shape, m), jnp.float32)
    z = mean + jnp.sin(angle) * _side(noise, mean) - 2 * jnp.sin(angle / 2) ** 2 * mean
    return z if samples is None else z.swapaxes(0, 1)


def _side(noise: Array, mean: Array) -> Array:
    """A random unit vector at a right angle to `mean`, which turns with it and not around it."""
    fixed = lax.stop_gradient(mean)
    side = unit(noise - (noise * fixed).sum(-1, keepdims=True) * fixed)
    side = unit(side - (side * fixed).sum(-1, keepdims=True) * fixed)  # again, against rounding
    return side - (side * (mean - fixed)).sum(-1, keepdims=True) * fixed


def _angles(key: Array, kappa: Array, m: int) -> Array:
    """Angles between z and the mean, by rejection: an array like `kappa`, without gradient."""
    b = (m - 1) / (2 * kappa + jnp.hypot(2 * kappa, m - 1.0))
    away = 2 * b / (1 + b)  # 1 - x of the mode x of the envelope

    def propose(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        angle, done, turn = state
        turned, shape = jax.random.fold_in(key, turn), (*kappa.shape, 3)
        u = jax.random.uniform(turned, shape, jnp.float32, minval=TINY)
        # z_1 of a uniform direction in m - 1 dimensions: (1 + z_1) / 2 is Beta((m-1)/2, (m-1)/2).
        radius = jnp.sqrt(-jnp.expm1(2 / (m - 2) * jnp.log(u[..., 0]))) if m > 2 else 1.0
        beta = (1 + radius * jnp.cos(2 * jnp.pi * u[..., 1])) / 2
        scale = 1 / (1 - (1 - b) * beta)
        far, near = 2 * b * beta * scale, 2 * (1 - beta) * scale  # 1 - w and 1 + w
        # log(1 - x w) - log(1 - x^2):
        ratio = jnp.log((away + (1 - away) * far) / (away * (2 - away)))
        accept = kappa * (away - far) + (m - 1) * ratio >= jnp.log(u[..., 2])
        accept |= ~jnp.isfinite(kappa)  # or a diverged training would wait forever
        drawn = 2 * jnp.arctan2(jnp.sqrt(far), jnp.sqrt(near))
        return jnp.where(done, angle, drawn), done | accept, turn + 1

    start = jnp.zeros_like(kappa), jnp.zeros(kappa.shape, bool), jnp.int32(0)
    angle: Array = lax.while_loop(lambda state: ~state[1].all(), propose, start)[0]
    return jnp.where(jnp.isfinite(kappa), angle, jnp.nan)


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def reparametrized(m: int, angle: Array, kappa: Array) -> Array:
    """`angle` itself, a draw of concentration `kappa`, with its derivative ``d angle / d kappa``.

    The distribution function F(angle; k) stays the same: ``d angle / dk = -(dF / dk) / p(angle)``.
    Source: Figurnov et al., Implicit reparameterization gradients, 2018, equation 5.
    """
    return angle


@reparametrized.defjvp
def _(m: int, primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    angle, kappa = primals
    return angle, tangents[0] + _speed(m, angle, kappa) * tangents[1]


def _speed(m: int, angle: Array, kappa: Array) -> Array:
    """``-int_0^angle (cos s - E cos) p(s) ds / p(angle)``, ``p(s) = exp(k cos s) sin(s)^(m-2)``.

    Beyond the mode it is the integral from there to pi, with the other sign, so that the density
    falls away from the angle. Gauss-Legendre quadrature.
    """
    # The mode, and the curvature of log p there.
    k = jnp.maximum(kappa, 1e-6)
    scale = m - 2 + jnp.hypot(m - 2.0, 2 * k)
    cosine, square = 2 * k / scale, 2 * (m - 2) / scale  # square: sin^2
    curvature = k * cosine + scale / 2
    reach = SPREADS * lax.rsqrt(curvature)
    right = angle > jnp.arctan2(jnp.sqrt(square), cosine)
    end = jnp.where(right, jnp.minimum(angle + reach, jnp.pi), jnp.maximum(angle - reach, 0.0))
    half = ((end - angle) / 2)[..., None]
    step = half * (1 + jnp.float32(NODES))  # from the angle
    s = angle[..., None] + step
    above = bessel_rest(m / 2 - 1, kappa)[..., None] - 2 * jnp.sin(s / 2) ** 2  # cos s - E cos
    # cos s - cos(angle), and sin s / sin(angle):
    difference = -2 * jnp.sin(angle[..., None] + step / 2) * jnp.sin(step / 2)
    log_density = kappa[..., None] * difference
    if m > 2:
        sines = jnp.maximum(jnp.sin(s), TINY) / jnp.maximum(jnp.sin(angle[..., None]), TINY)
        log_density += (m - 2) * jnp.log(sines)
    # `half` is negative on the left.
    return (above * jnp.exp(log_density) * jnp.float32(WEIGHTS)).sum(-1) * half[..., 0]
