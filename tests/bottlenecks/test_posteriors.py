"""Posteriors with dependent latents, against NumPy in float64 and automatic differentiation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import multivariate_normal, norm

from ae_jax.bottlenecks import Binary, FlowPosterior, FullCovariance, Gaussian, Hamiltonian
from ae_jax.priors import StandardNormal

RNG = np.random.default_rng(0)
D, ROWS, SAMPLES = 3, 5, 4
H = jnp.float32(RNG.normal(size=(ROWS, 6)))
RNGS = {"latent": jax.random.key(1)}


def made(spec):
    module = spec.module()
    shapes = jax.eval_shape(module.init, jax.random.key(0), H)
    return module, jax.tree.map(lambda s: jnp.float32(0.5 * RNG.normal(size=s.shape)), shapes)


@pytest.mark.parametrize(
    "spec",
    [
        *(Gaussian(), FullCovariance(), FlowPosterior(), Binary()),
        *(Hamiltonian(), Hamiltonian(tempering=1.0)),
    ],
)
def test_their_parameters_have_the_names_that_are_declared(spec):
    """So that a partial bound can train the encoder by itself."""
    _, variables = made(spec)
    assert variables["params"].keys() == set(spec.params)


class TestFullCovariance:
    module, variables = made(FullCovariance(latent_dim=D))

    def exact(self, outputs):
        cholesky = np.float64(outputs["cholesky"])
        return np.float64(outputs["mean"]), cholesky, cholesky @ cholesky.swapaxes(1, 2)

    def test_its_factor_is_triangular_and_varies(self):
        outputs = self.module.apply(self.variables, H)
        _, cholesky, covariance = self.exact(outputs)
        np.testing.assert_array_equal(cholesky, np.tril(cholesky))
        assert (cholesky[:, np.arange(D), np.arange(D)] > 0).all()
        assert (np.abs(cholesky[:, *np.tril_indices(D)]) > 1e-4).all()
        variance = np.diagonal(covariance, axis1=1, axis2=2)
        np.testing.assert_allclose(outputs["logvar"], np.log(variance), rtol=1e-4, atol=1e-5)

    def test_density_is_that_of_scipy(self):
        outputs = self.module.apply(self.variables, H, SAMPLES, rngs=RNGS)
        log_prob = self.module.apply(self.variables, outputs, method="log_prob")
        mean, _, covariance = self.exact(outputs)
        exact = [
            multivariate_normal.logpdf(outputs["z"][:, i], mean[i], covariance[i])
            for i in range(ROWS)
        ]
        np.testing.assert_allclose(log_prob, np.transpose(exact), rtol=1e-4, atol=1e-4)

    def test_kl_to_the_standard_normal_is_the_closed_form(self):
        outputs = self.module.apply(self.variables, H)
        mean, _, covariance = self.exact(outputs)
        trace = np.trace(covariance, axis1=1, axis2=2)
        exact = 0.5 * (trace + (mean**2).sum(1) - D - np.linalg.slogdet(covariance)[1])
        np.testing.assert_allclose(StandardNormal().kl(outputs), exact, rtol=1e-5)
        each = StandardNormal().latent_kl(outputs)
        assert (each.sum(1) < exact).all()  # the rest is what latents tell of each other

    def test_samples_have_its_moments(self):
        h = jnp.tile(H[:1], (40_000, 1))
        outputs = self.module.apply(self.variables, h, rngs=RNGS)
        mean, _, covariance = self.exact(self.module.apply(self.variables, H[:1]))
        scale = covariance[0].diagonal().max()
        np.testing.assert_allclose(outputs["z"].mean(0), mean[0], atol=0.03 * scale**0.5)
        np.testing.assert_allclose(np.cov(outputs["z"].T), covariance[0], atol=0.04 * scale)


@pytest.mark.parametrize("flow", ["iaf", "maf", "planar", "radial"])
def test_a_flow_s_density_is_the_gaussian_s_over_the_jacobian(flow):
    """The Gaussian draws the same noise by itself."""
    module, variables = made(FlowPosterior(latent_dim=D, flow=flow, widths=(7,)))
    params = {name: variables["params"][name] for name in ("mean", "logvar")}

    def bend(e, h):
        return module.apply(variables, e[None], h[None], method="_bend")[0][0]

    @jax.jit
    def everything(h):
        outputs = module.apply(variables, h, SAMPLES, rngs=RNGS)
        base = Gaussian(latent_dim=D).module()
        e = base.apply({"params": params}, h, SAMPLES, rngs=RNGS)["z"]
        jacobian = jax.vmap(jax.vmap(jax.jacobian(bend)), (0, None))(e, h)
        quiet = module.apply(variables, h)
        return outputs, e, jacobian, quiet, module.apply(variables, h, method="encode")

    outputs, e, jacobian, quiet, center = everything(H)
    std = np.exp(np.float64(outputs["logvar"]) / 2)
    log_prob = norm.logpdf(np.float64(e), np.float64(outputs["mean"]), std).sum(-1)
    exact = log_prob - np.linalg.slogdet(np.float64(jacobian))[1]
    np.testing.assert_allclose(outputs["log_posterior"], exact, rtol=1e-3, atol=1e-3)
    again = module.apply(variables, outputs, method="log_prob")
    np.testing.assert_array_equal(again, outputs["log_posterior"])
    # Without noise it is the image of the mean.
    np.testing.assert_allclose(quiet["z"], center, rtol=1e-6)
    assert np.abs(quiet["z"] - quiet["mean"]).max() > 0.01
