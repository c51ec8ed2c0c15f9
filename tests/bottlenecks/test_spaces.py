"""Posteriors and priors of latents on the sphere and in the Poincaré ball."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.stats import norm

from ae_jax import sweep
from ae_jax.bottlenecks import Gaussian, VonMisesFisher, WrappedNormal
from ae_jax.core import init_state
from ae_jax.likelihoods import Bernoulli
from ae_jax.models import AE, ELBO, IWAE, Hyperspherical, Poincare, Variational
from ae_jax.networks import MLP
from ae_jax.networks.gyroplanes import Gyroplanes
from ae_jax.ops import poincare
from ae_jax.ops.densities import wrapped_normal_log_prob
from ae_jax.priors import StandardNormal, UniformSphere, VampPrior, WrappedNormalPrior

RNG = np.random.default_rng(0)
ROWS, SAMPLES = 5, 4
H = jnp.float32(RNG.normal(size=(ROWS, 6)))
RNGS = {"latent": jax.random.key(1)}
mobius_add = jax.jit(poincare.mobius_add)


def made(spec, scale=0.5):
    module = spec.module()
    shapes = jax.eval_shape(module.init, jax.random.key(0), H)
    return module, jax.tree.map(lambda s: jnp.float32(scale * RNG.normal(size=s.shape)), shapes)


def call(module, variables, given, samples=None, method=None, noisy=False):
    """Compiled: eager operations would each be compiled by themselves."""
    rngs = RNGS if noisy else {}
    more = () if samples is None else (samples,)
    return jax.jit(lambda v, x: module.apply(v, x, *more, method=method, rngs=rngs))(
        variables, given
    )


@pytest.mark.parametrize("spec", [VonMisesFisher(), WrappedNormal()])
def test_their_parameters_have_the_names_that_are_declared(spec):
    """So that a partial bound can train the encoder by itself; gyroplanes are the decoder's."""
    _, variables = made(spec)
    assert variables["params"].keys() == set(spec.params)


@pytest.mark.parametrize("spec", [VonMisesFisher(latent_dim=3), WrappedNormal(latent_dim=3)])
def test_without_noise_they_are_at_their_center(spec):
    module, variables = made(spec)
    quiet = call(module, variables, H)
    np.testing.assert_array_equal(quiet["z"], call(module, variables, H, method="encode"))
    np.testing.assert_array_equal(quiet["z"], quiet["mean"])
    several = call(module, variables, H, SAMPLES)["z"]
    np.testing.assert_array_equal(several, jnp.tile(quiet["z"], (SAMPLES, 1, 1)))
    drawn = call(module, variables, H, SAMPLES, noisy=True)["z"]
    assert drawn.shape == (SAMPLES, ROWS, 3) and drawn.std(0).min() > 0


class TestVonMisesFisher:
    def test_has_its_parameters_and_the_exact_kl(self):
        module, variables = made(VonMisesFisher(latent_dim=3))
        outputs = call(module, variables, H, 4000, noisy=True)
        params = jax.tree.map(np.float64, variables["params"])
        out = {name: H @ p["kernel"] + p["bias"] for name, p in params.items()}
        length = np.linalg.norm(out["mean"], axis=1, keepdims=True)
        np.testing.assert_allclose(outputs["mean"], out["mean"] / length, rtol=1e-5)
        kappa = 1 + np.log1p(np.exp(out["concentration"][:, 0]))
        np.testing.assert_allclose(outputs["kappa"], kappa, rtol=1e-5)
        log_prob = np.float64(call(module, variables, outputs, method="log_prob"))
        prior = UniformSphere().module(3, (6,))
        log_prior = prior.apply({}, outputs["z"][0], method="log_prob")
        np.testing.assert_allclose(log_prior, -np.log(4 * np.pi), rtol=1e-6)
        ratio = log_prob + np.log(4 * np.pi)
        error = ratio.std(0) / 4000**0.5
        assert (np.abs(ratio.mean(0) - UniformSphere().kl(outputs)) < 4 * error).all()

    def test_a_prior_sample_is_uniform(self):
        module = UniformSphere().module(4, (6,))
        z = np.float64(module.apply({}, 8000, rngs=RNGS, method="sample"))
        np.testing.assert_allclose(np.linalg.norm(z, axis=1), 1, rtol=1e-6)
        np.testing.assert_allclose(z.mean(0), 0, atol=0.03)
        np.testing.assert_allclose(z.T @ z / len(z), np.eye(4) / 4, atol=0.01)

    def test_without_features_its_mean_is_still_a_direction(self):
        module, variables = made(VonMisesFisher(latent_dim=3))
        zeros = jax.tree.map(jnp.zeros_like, variables)
        mean = call(module, zeros, H)["mean"]
        np.testing.assert_array_equal(mean, np.tile(np.eye(3)[0], (ROWS, 1)))
        gradient = jax.jit(jax.grad(lambda v: module.apply(v, H)["z"].sum()))(zeros)
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


def ball_grid(c, far, count=700):
    """Points of the disk, and the volume that each stands for in its own metric: by polar
    coordinates, whose radius is a distance."""
    root = np.sqrt(c)
    r = (np.arange(count) + 0.5) * far / count
    angle = np.arange(200) * 2 * np.pi / 200
    length = (np.tanh(root * r / 2) / root)[:, None, None]
    z = length * np.stack([np.cos(angle), np.sin(angle)], -1)
    volume = np.sinh(root * r) / root * far / count * 2 * np.pi / 200
    return np.float32(z.reshape(-1, 2)), np.repeat(volume, 200)


class TestWrappedNormal:
    @pytest.mark.parametrize("c", [0.4, 2.0])
    def test_densities_integrate_to_one_over_the_ball(self, c):
        z, volume = ball_grid(c, 9 / max(c, 1) ** 0.5)
        prior = WrappedNormalPrior(curvature=c).module(2, (6,))
        density = np.exp(np.float64(call(prior, {}, z, method="log_prob")))
        assert density @ volume == pytest.approx(1, abs=2e-3)
        module, variables = made(WrappedNormal(latent_dim=2, curvature=c), 0.15)
        outputs = call(module, variables, H)
        grid = jnp.broadcast_to(z[:, None], (len(z), ROWS, 2))
        log_prob = call(module, variables, {**outputs, "z": grid}, method="log_prob")
        np.testing.assert_allclose(volume @ np.exp(np.float64(log_prob)), 1, atol=4e-3)

    def test_samples_have_its_density(self):
        """``E_q[p / q] = 1``, and the squared distance to the mean is that of the normal."""
        spec = WrappedNormal(latent_dim=2, curvature=0.7)
        module, variables = made(spec, 0.15)
        count = 20_000
        outputs = call(module, variables, H, count, noisy=True)
        z, mean, std = outputs["z"], outputs["mean"], np.exp(outputs["logvar"] / 2)
        away = np.float64(poincare.distance(mean, z, 0.7)) ** 2
        np.testing.assert_allclose(away.mean(0), (std**2).sum(1), rtol=0.05)
        log_prob = np.float64(call(module, variables, outputs, method="log_prob"))
        other = WrappedNormalPrior(curvature=0.7).module(2, (6,))
        inside = z.reshape(-1, 2)
        log_other = call(other, {}, inside, method="log_prob").reshape(log_prob.shape)
        near = np.float64(jnp.linalg.norm(z, axis=-1)) < 0.5  # where the ratio is bounded
        grid, volume = ball_grid(0.7, 9)
        density = np.exp(np.float64(call(other, {}, grid, method="log_prob")))
        share = (density * volume)[np.linalg.norm(grid, axis=1) < 0.5].sum()
        ratio = np.where(near, np.exp(np.float64(log_other) - log_prob), 0)
        error = ratio.std(0) / count**0.5
        assert (np.abs(ratio.mean(0) - share) < 4 * error + 2e-3).all()

    def test_density_is_the_normal_s_over_the_stretch_of_the_map(self):
        """With the noise that made the sample, and the Jacobian of ``v -> z`` by autodiff."""
        c, logvar = 0.7, jnp.float32([-0.5, 0.3, 0.1])
        mean = poincare.exp_origin(jnp.float32([0.3, -0.4, 0.2]), c)

        def move(v):
            return poincare.mobius_add(mean, poincare.exp_origin(v / 2, c), c)

        @jax.jit
        def everything(v):
            z = jax.vmap(move)(v)
            log_prob = wrapped_normal_log_prob(z, mean, logvar, c)
            return log_prob, jax.vmap(jax.jacobian(move))(v), poincare.gap(z, c)[:, 0]

        v = jnp.float32(RNG.normal(size=(6, 3)))
        log_prob, jacobian, gap = map(np.float64, everything(v))
        exact = norm.logpdf(v, 0, np.exp(logvar / 2)).sum(1) - np.linalg.slogdet(jacobian)[1]
        volume = 3 * np.log(2 / gap)
        np.testing.assert_allclose(log_prob, exact - volume, rtol=1e-4, atol=1e-4)

    def test_prior_samples_have_the_distances_of_a_normal(self):
        prior = WrappedNormalPrior(curvature=2.0).module(3, (6,))
        z = prior.apply({}, 10_000, rngs=RNGS, method="sample")
        distance = np.float64(poincare.distance(jnp.zeros_like(z), z, 2.0))
        np.testing.assert_allclose((distance**2).mean(), 3, rtol=0.03)
        assert (2**0.5 * np.linalg.norm(z, axis=1) < 1).all()

    def test_gradients_are_finite_far_out(self):
        """Where means and samples are beyond what float32 can tell from the boundary."""
        spec = WrappedNormal(latent_dim=3)
        module, variables = made(spec)
        prior = WrappedNormalPrior().module(3, (6,))

        @jax.jit
        @jax.grad
        def gradient(variables, h):
            outputs = module.apply(variables, h, SAMPLES, rngs=RNGS)
            log_prior = prior.apply({}, outputs["z"].reshape(-1, 3), method="log_prob")
            log_posterior = module.apply(variables, outputs, method="log_prob")
            return log_posterior.sum() - log_prior.sum()

        for scale in (0.0, 30.0):
            leaves = jax.tree.leaves(gradient(variables, scale * H))
            assert all(np.isfinite(leaf).all() for leaf in leaves), scale


class TestGyroplanes:
    def layer(self, c, z):
        module = Gyroplanes(6, c, "linear")
        shapes = jax.eval_shape(module.init, jax.random.key(0), z)["params"]
        params = {name: jnp.float32(0.4 * RNG.normal(size=s.shape)) for name, s in shapes.items()}
        return jax.jit(module.apply)({"params": params}, z), jax.tree.map(np.float64, params)

    @pytest.mark.parametrize("c", [0.5, 1.3])
    def test_is_the_signed_distance_to_the_plane_through_a_point(self, c):
        """Ganea et al., 2018, theorem 5, with the point at exp_0(r a / |a|)."""
        z = poincare.exp_origin(jnp.float32(RNG.normal(size=(7, 3))), c)
        got, params = self.layer(c, z)
        root, direction = np.sqrt(c), params["kernel"] / np.linalg.norm(params["kernel"], axis=0)
        for j, r in enumerate(params["offset"]):
            a = direction[:, j]
            p = np.tanh(root * r) / root * a
            w = np.float64(mobius_add(jnp.float32(-p), z, c))
            sine = 2 * root * (w @ a) / (1 - c * np.square(w).sum(1))
            exact = np.linalg.norm(params["kernel"][:, j]) * np.arcsinh(sine) / root
            np.testing.assert_allclose(got[:, j], exact, rtol=1e-3, atol=1e-4)

    def test_is_a_dense_layer_where_the_ball_is_flat(self):
        z = jnp.float32(RNG.normal(size=(7, 3)))
        got, params = self.layer(1e-8, z)
        length = np.linalg.norm(params["kernel"], axis=0)
        flat = 2 * (np.float64(z) @ params["kernel"] - length * params["offset"])
        np.testing.assert_allclose(got, flat, rtol=1e-4, atol=1e-4)

    def test_beyond_the_ball_it_reads_the_boundary(self):
        z = jnp.float32([[3.0, 0, 0], [np.float32(1 - 1e-5), 0, 0]])
        far, edge = self.layer(1.0, z)[0]
        np.testing.assert_allclose(far, edge, rtol=2e-2)
        assert np.isfinite(far).all()


NET = {"network": MLP(widths=(5,)), "likelihood": Bernoulli()}


SMALL = {"network": MLP(widths=(5,)), "latent_dim": 3}


@pytest.mark.parametrize("spec", [Hyperspherical(**SMALL), Poincare(**SMALL, gyroplanes=4)])
def test_decoders_read_any_latent_as_its_projection(spec, numpy_state):
    ae, x = spec.build((4,)), np.float32(RNG.uniform(size=(6, 4)))
    variables = numpy_state(ae, optax.sgd(0.1)).variables

    @jax.jit
    def everything(variables):
        z = ae.encode(variables, x)
        edge = z / jnp.linalg.norm(z, axis=1)[:, None]
        near = (1 - 1e-5) * edge if spec.kind == "poincare" else edge
        t = jnp.linspace(0, 1, 5)[:, None]
        path = ae.apply(variables, z[:1], z[1:2], t, method="geodesic")
        return z, ae.decode(variables, 3 * edge), ae.decode(variables, near), path

    z, far, near, path = everything(variables)
    np.testing.assert_allclose(far, near, rtol=2e-2, atol=1e-3)
    np.testing.assert_allclose(path[0], z[0], atol=1e-5)
    np.testing.assert_allclose(path[-1], z[1], atol=1e-5)


class TestMistakes:
    @pytest.mark.parametrize(
        ("make", "message"),
        [
            (lambda: VonMisesFisher(latent_dim=1), "latent_dim=1: must be at least 2"),
            (lambda: WrappedNormal(latent_dim=0), "latent_dim=0: must be at least 1"),
            (lambda: WrappedNormal(curvature=0.0), "must be positive: of a flat space, use Gaus"),
            (lambda: WrappedNormal(gyroplanes=0), "gyroplanes=0: must be at least 1"),
            (lambda: WrappedNormalPrior(curvature=-1.0), "curvature=-1.0: must be positive"),
            (
                lambda: AE(bottleneck=VonMisesFisher(), prior=StandardNormal(), **NET),
                r"the latents of VonMisesFisher live in the space 'sphere': use UniformSphere\(\)",
            ),
            (
                lambda: AE(bottleneck=WrappedNormal(), prior=VampPrior(), **NET),
                r"WrappedNormal live in the space 'ball': use WrappedNormalPrior\(\)",
            ),
            (
                lambda: AE(bottleneck=Gaussian(), prior=UniformSphere(), **NET),
                r"the space 'real': use StandardNormal\(\) or ",
            ),
            (lambda: Variational(prior=WrappedNormalPrior()), "the space 'real': use"),
            (
                lambda: AE(
                    bottleneck=WrappedNormal(curvature=0.5), prior=WrappedNormalPrior(), **NET
                ),
                r"curvature=1.0: the bottleneck's is 0.5: use WrappedNormalPrior\(curvature=0.5\)",
            ),
            (
                lambda: Hyperspherical(bound=ELBO(free_bits=0.1)),
                "not that of VonMisesFisher and UniformSphere",
            ),
        ],
    )
    def test_are_refused_with_the_remedy(self, make, message):
        with pytest.raises(ValueError, match=message):
            make()

    @pytest.mark.parametrize(
        "estimator",
        ["dreg", *(pytest.param(e, marks=pytest.mark.slow) for e in ("stl", "vimco", "score"))],
    )
    @pytest.mark.parametrize("family", [Hyperspherical, Poincare])
    def test_every_estimator_is_theirs(self, estimator, family):
        """The decoder's gradient is the same with each, draw by draw, and q's is finite."""

        def gradient(estimator):
            bound = IWAE(samples=3, estimator=estimator)
            ae = family(**SMALL, bound=bound).build((4,))
            params = init_state(ae, optax.identity(), jax.random.key(0)).params

            def loss(params):
                rngs = {"latent": jax.random.key(1)}
                outputs = ae.outputs({"params": params}, {"x": x}, rngs=rngs)
                return ae.objective["iwae"].fn(outputs, {"x": x}).mean()

            return jax.jit(jax.grad(loss))(params)

        x = jnp.float32(np.random.default_rng(0).uniform(size=(6, 4)))
        got, plain = gradient(estimator), gradient("reparametrized")
        close = partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-5)
        jax.tree.map(close, got["decoder"], plain["decoder"])
        for leaf in jax.tree.leaves(got["mean"]):
            assert np.isfinite(leaf).all() and np.abs(leaf).max() > 1e-5


@pytest.mark.slow
def test_curvatures_are_swept_in_one_program():
    """The ball's curvature is then traced, in the bottleneck and the prior alike."""

    def make(curvature):
        return Poincare(**SMALL, gyroplanes=4, curvature=curvature).build((4,))

    x = np.float32(RNG.uniform(size=(16, 4)))
    rows = sweep(make, {"curvature": [0.5, 2.0]}, [0], x, epochs=1, batch_size=8).table()
    assert len({row["loss"] for row in rows}) == 2
    alone = sweep(lambda: make(2.0), {}, [0], x, epochs=1, batch_size=8).table()[0]
    np.testing.assert_allclose(rows[1]["loss"], alone["loss"], rtol=1e-4)
