"""What sets each family apart, against closed forms and independent computations."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.stats import norm

from ae_jax.evaluation import fit_pca
from ae_jax.likelihoods.bernoulli import binarized
from ae_jax.models import Contractive, Denoising, Sparse, Tied, Vanilla, Variational
from ae_jax.models.corruption import corrupt
from ae_jax.models.penalties import jacobian_norm
from ae_jax.networks import MLP
from ae_jax.training import fit, make_eval_step

RNG = np.random.default_rng(0)
X = np.float32(RNG.uniform(size=(16, 6)))
SGD = optax.sgd(0.1)


@pytest.mark.slow
def test_a_linear_autoencoder_finds_the_subspace_of_pca():
    """3-2-3 on centered data: the minimum of the squared error is PCA's (Baldi & Hornik, 1989)."""
    latent = RNG.normal(size=(400, 2)) @ np.array([[2.0, 1.0, 0.5], [-0.3, 0.8, 1.0]])
    x = np.float32(latent + 0.1 * RNG.normal(size=(400, 3)))
    x -= x.mean(0)
    ae = Vanilla(latent_dim=2, latent_activation="linear", loss="mse").build((3,))
    rate = optax.cosine_decay_schedule(5e-2, 4000)
    state, _ = fit(ae, x, epochs=4000, batch_size=400, optimizer=optax.adam(rate))
    pca = fit_pca(x, 2)
    best = np.asarray(pca.decode(pca.encode(x)))
    recon = np.asarray(ae.reconstruct(state.variables, x))
    assert ((recon - x) ** 2).sum() <= 1.001 * ((best - x) ** 2).sum()
    np.testing.assert_allclose(recon, best, atol=0.02)


class TestTied:
    ae = Tied(network=MLP(widths=(5,), activation="tanh"), latent_dim=2).build((6,))

    def test_is_the_transpose_written_out(self, numpy_state):
        state = numpy_state(self.ae, SGD)
        p = {name: np.float64(value) for name, value in state.params.items()}
        h = np.tanh(X @ p["kernel_0"] + p["bias_0"])
        z = np.maximum(h @ p["kernel_1"] + p["bias_1"], 0)
        h = np.tanh(z @ p["kernel_1"].T + p["decoder_bias_1"])
        logits = h @ p["kernel_0"].T + p["decoder_bias_0"]
        np.testing.assert_allclose(self.ae.encode(state.variables, X), z, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(
            self.ae.reconstruct(state.variables, X), 1 / (1 + np.exp(-logits)), rtol=1e-5
        )

    def test_has_half_the_weights(self, numpy_state):
        kernels = [
            p.shape for p in jax.tree.leaves(numpy_state(self.ae, SGD).params) if p.ndim == 2
        ]
        assert sorted(kernels) == [(5, 2), (6, 5)]


class TestContractive:
    def test_exact_norm_is_the_closed_form_of_one_sigmoid_layer(self, numpy_state):
        """||J||^2 = sum_j (z_j (1 - z_j))^2 sum_i W_ij^2 (Rifai et al., 2011, equation 3)."""
        ae = Contractive(latent_dim=4, latent_activation="sigmoid").build((6,))
        state = numpy_state(ae, SGD)
        outputs = ae.module.apply(state.variables, X)
        z = np.float64(outputs["z"])
        kernel = np.float64(state.params["inner"]["code"]["kernel"])
        closed = ((z * (1 - z)) ** 2 @ (kernel**2).sum(0)[:, None])[:, 0]
        np.testing.assert_allclose(outputs["jacobian"], closed, rtol=1e-5)
        loss, metrics = make_eval_step(ae)(state, {"x": jnp.asarray(X)}), closed.mean()
        np.testing.assert_allclose(loss["jacobian"], metrics, rtol=1e-5)

    def test_estimate_agrees_with_the_exact_norm(self):
        """Hutchinson's estimate over many probes, on a deep encoder with spatial latents."""
        kernels = [jnp.asarray(RNG.normal(size=s), jnp.float32) for s in ((6, 8), (8, 4))]

        def encode(x):
            return jnp.tanh(jnp.tanh(x @ kernels[0]) @ kernels[1]).reshape(len(x), 2, 2)

        exact = jax.jit(partial(jacobian_norm, encode))(X)
        jacobians = jax.jit(jax.vmap(jax.jacfwd(lambda row: encode(row[None])[0])))(X)
        np.testing.assert_allclose(exact, (jacobians**2).sum((1, 2, 3)), rtol=1e-4)
        probes = jax.random.rademacher(jax.random.key(0), (20_000, 16, 2, 2), jnp.float32)
        estimate = jax.jit(partial(jacobian_norm, encode))(X, probes=probes)
        np.testing.assert_allclose(estimate, exact, rtol=0.05)

    def test_probes_are_used_in_training_only(self, numpy_state):
        ae = Contractive(latent_dim=4, latent_activation="sigmoid", probes=1).build((6,))
        state = numpy_state(ae, SGD)
        exact = ae.module.apply(state.variables, X)["jacobian"]
        noisy = ae.module.apply(state.variables, X, rngs={"latent": jax.random.key(0)})["jacobian"]
        assert (exact != noisy).any()
        step = make_eval_step(ae)
        value = step(state, {"x": jnp.asarray(X)})["jacobian"]
        np.testing.assert_allclose(value, exact.mean(), rtol=1e-5)


class TestDenoising:
    x = jnp.full((2000, 50), 0.4)

    def test_gaussian_noise_has_its_level_and_stays_in_range(self):
        noisy = corrupt(jax.random.key(0), self.x, noise="gaussian", level=0.1)
        np.testing.assert_allclose(noisy.std(), 0.1, rtol=0.02)
        wild = corrupt(jax.random.key(0), self.x, noise="gaussian", level=3.0)
        assert wild.min() == 0 and wild.max() == 1

    def test_gaussian_noise_of_other_values_keeps_mean_and_adds_its_variance(self):
        x = jax.random.normal(jax.random.key(1), (2000, 50))
        noisy = corrupt(jax.random.key(0), x, noise="gaussian", level=0.5, clip=False)
        np.testing.assert_allclose(noisy.mean(), x.mean(), atol=0.01)
        np.testing.assert_allclose(noisy.var(), 1.25, rtol=0.02)
        np.testing.assert_allclose(np.corrcoef(x.ravel(), (noisy - x).ravel())[0, 1], 0, atol=0.01)

    @pytest.mark.parametrize("loss", ["bce", "mse"])
    def test_inputs_are_clipped_where_data_lie_in_the_unit_interval(self, loss, numpy_state):
        ae = Denoising(latent_dim=3, loss=loss, level=2.0).build((6,))
        variables = numpy_state(ae, SGD).variables
        noisy = ae.apply(variables, X, rngs={"corrupt": jax.random.key(0)})["corrupted"]
        assert ae.unit_interval == (loss == "bce")
        assert ((noisy >= 0) & (noisy <= 1)).all() == ae.unit_interval

    def test_without_noise_it_is_the_plain_autoencoder(self, numpy_state):
        """On values of any sign: noise of level 0 must not clip them."""
        x = np.float32(RNG.normal(size=(16, 6)))
        options = {"latent_dim": 3, "loss": "mse", "latent_activation": "linear"}
        plain, quiet = (
            s.build((6,)) for s in (Vanilla(**options), Denoising(level=0.0, **options))
        )
        params = numpy_state(plain, SGD).params
        wrapped = {"params": {"inner": params}}
        noisy = quiet.apply(wrapped, x, rngs={"corrupt": jax.random.key(0)})["recon"]
        np.testing.assert_array_equal(noisy, plain.apply({"params": params}, x)["recon"])

    @pytest.mark.parametrize(
        ("noise", "values", "fractions"),
        [
            ("masking", [0.0, 0.4], [0.3, 0.7]),
            ("salt_and_pepper", [0.0, 0.4, 1.0], [0.15, 0.7, 0.15]),
            ("dropout", [0.0, 0.4 / 0.7], [0.3, 0.7]),
        ],
    )
    def test_the_others_replace_a_fraction(self, noise, values, fractions):
        noisy = np.asarray(corrupt(jax.random.key(0), self.x, noise=noise, level=0.3))
        shares = [np.isclose(noisy, value).mean() for value in values]
        np.testing.assert_allclose(shares, fractions, atol=0.01)
        assert sum(shares) == pytest.approx(1.0)

    @pytest.mark.parametrize("noise", ["gaussian", "masking", "salt_and_pepper", "dropout"])
    def test_the_input_is_corrupted_and_the_target_is_not(self, noise, numpy_state):
        ae = Denoising(latent_dim=3, noise=noise, level=0.5).build((6,))
        state, batch = numpy_state(ae, SGD), {"x": jnp.asarray(X)}
        clean = make_eval_step(ae)(state, batch)["bce"]
        noisy = make_eval_step(ae)(state, batch, jax.random.key(0))["bce"]
        # dropout is a regularizer, off in evaluation
        assert (clean == noisy) == (noise == "dropout")
        key = jax.random.key(3)
        stream = "dropout" if noise == "dropout" else "corrupt"
        outputs = ae.module.apply(state.variables, X, rngs={stream: key})
        quiet = ae.module.apply(state.variables, X)
        assert (outputs["logits"] != quiet["logits"]).any()


class TestSparse:
    def test_l1_is_summed_over_latents_and_averaged_over_examples(self, numpy_state):
        ae = Sparse(latent_dim=9, weight=0.3).build((6,))
        state = numpy_state(ae, SGD)
        metrics = make_eval_step(ae)(state, {"x": jnp.asarray(X)})
        z = np.float64(ae.encode(state.variables, X))
        np.testing.assert_allclose(metrics["l1"], np.abs(z).sum(1).mean(), rtol=1e-5)
        np.testing.assert_allclose(metrics["loss"], metrics["bce"] + 0.3 * metrics["l1"], rtol=1e-6)

    def test_kl_drives_latents_to_the_target_rate(self):
        spec = Sparse(
            latent_dim=8,
            latent_activation="sigmoid",
            penalty="kl",
            target=0.1,
            weight=1.0,
            loss="mse",
        )
        x = np.float32(RNG.uniform(size=(256, 6)))
        state, _ = fit(spec.build((6,)), x, epochs=60, batch_size=64, optimizer=optax.adam(2e-2))
        rates = np.asarray(spec.build((6,)).encode(state.variables, x)).mean(0)
        np.testing.assert_allclose(rates, 0.1, atol=0.03)


class TestVariationalOptions:
    def outputs(self, spec, numpy_state):
        ae = spec.build((6,))
        state = numpy_state(ae, SGD)
        return ae, state, make_eval_step(ae)(state, {"x": jnp.asarray(X)})

    def test_warm_up_scales_the_kl(self, numpy_state):
        ae, state, metrics = self.outputs(Variational(latent_dim=2, warmup_steps=10), numpy_state)
        np.testing.assert_allclose(metrics["loss"], metrics["nll"], rtol=1e-6)
        later = make_eval_step(ae)(state.replace(step=jnp.int32(5)), {"x": jnp.asarray(X)})
        np.testing.assert_allclose(later["loss"], later["nll"] + 0.5 * later["kl"], rtol=1e-6)

    def test_free_bits_are_a_floor_per_latent(self, numpy_state):
        free = 0.4
        ae, state, metrics = self.outputs(Variational(latent_dim=3, free_bits=free), numpy_state)
        outputs = ae.module.apply(state.variables, X)
        mean, logvar = np.float64(outputs["mean"]), np.float64(outputs["logvar"])
        each = (0.5 * (np.exp(logvar) + mean**2 - 1 - logvar)).mean(0)
        np.testing.assert_allclose(metrics["kl"], each.sum(), rtol=1e-5)
        np.testing.assert_allclose(metrics["free_kl"], np.maximum(each, free).sum(), rtol=1e-5)
        np.testing.assert_allclose(metrics["loss"], metrics["nll"] + metrics["free_kl"], rtol=1e-5)

    @pytest.mark.parametrize("likelihood", ["gaussian", "learned_gaussian"])
    def test_gaussian_likelihoods_are_densities(self, likelihood, numpy_state):
        spec = Variational(latent_dim=2, likelihood=likelihood, variance=0.25)
        ae, state, metrics = self.outputs(spec, numpy_state)
        outputs = ae.module.apply(state.variables, X)
        variance = 0.25
        if likelihood == "learned_gaussian":
            variance = np.exp(np.float64(state.params["recon_logvar"]))
        error = (np.float64(outputs["recon"]) - X) ** 2
        nll = 0.5 * (np.log(2 * np.pi * variance) + error / variance).sum(1).mean()
        np.testing.assert_allclose(metrics["nll"], nll, rtol=1e-5)


class TestLogWeight:
    def make(self, likelihood, numpy_state):
        network = MLP(widths=(7,), activation="tanh")
        spec = Variational(network=network, latent_dim=3, likelihood=likelihood, variance=0.4)
        ae = spec.build((6,))
        return ae, numpy_state(ae, SGD)

    @pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian", "learned_gaussian"])
    def test_is_the_ratio_of_densities_at_the_draw(self, likelihood, numpy_state):
        """log p(x | z) + log p(z) - log q(z | x), in float64."""
        ae, state = self.make(likelihood, numpy_state)
        rngs = {"latent": jax.random.key(0)}
        ratio = ae.module.apply(state.variables, X, rngs=rngs, method="log_weight")
        z = np.float64(ae.module.apply(state.variables, X, rngs=rngs)["z"])
        p = jax.tree.map(np.float64, state.params)

        def dense(layer, h):
            return h @ layer["kernel"] + layer["bias"]

        h = np.tanh(dense(p["encoder"]["Dense_0"], X))
        mean, logvar = dense(p["mean"], h), dense(p["logvar"], h)
        out = dense(p["decoder"]["Dense_1"], np.tanh(dense(p["decoder"]["Dense_0"], z)))
        if likelihood == "bernoulli":
            log_likelihood = X * out - np.logaddexp(0, out)
        else:
            variance = np.exp(p["recon_logvar"]) if likelihood == "learned_gaussian" else 0.4
            log_likelihood = norm.logpdf(X, out, variance**0.5)
        log_ratio = norm.logpdf(z) - norm.logpdf(z, mean, np.exp(logvar / 2))
        np.testing.assert_allclose(ratio, log_likelihood.sum(1) + log_ratio.sum(1), rtol=1e-5)

    def test_its_mean_over_draws_is_the_lower_bound(self, numpy_state):
        """With the exact KL, which the draws know nothing of; within 4 standard errors."""
        ae, state = self.make("bernoulli", numpy_state)
        count = 10_000

        @jax.jit
        @jax.vmap
        def draw(key):
            rngs = {"latent": key}
            outputs = ae.apply(state.variables, X, rngs=rngs)
            nll = ae.objective["nll"].fn(outputs, {"x": jnp.asarray(X)})
            return ae.apply(state.variables, X, rngs=rngs, method="log_weight"), nll

        log_weight, nll = map(np.float64, draw(jax.random.split(jax.random.key(0), count)))
        kl = np.float64(ae.apply(state.variables, X, method="posterior_kl")).sum(1)
        surplus = log_weight - (-nll - kl)
        error = surplus.std(0) / count**0.5
        assert error.max() < 0.03
        assert (np.abs(surplus.mean(0)) < 4 * error).all()


class TestBinarize:
    ae = Variational(latent_dim=2, binarize=True).build((6,))

    def test_draws_are_bernoulli_with_mean_x(self):
        x = jnp.tile(jnp.float32([0.0, 0.1, 0.5, 0.9, 1.0]), (20_000, 1))
        drawn = binarized(jax.random.key(0), x)
        assert set(np.unique(drawn)) == {0.0, 1.0} and drawn.dtype == x.dtype
        np.testing.assert_allclose(drawn.mean(0), x[0], atol=0.02)
        assert (drawn[:, 0] == 0).all() and (drawn[:, -1] == 1).all()

    def test_what_is_drawn_is_input_and_target(self, numpy_state):
        state, key = numpy_state(self.ae, SGD), jax.random.key(0)
        noisy = self.ae.apply(state.variables, X, rngs={"corrupt": key})
        target = noisy["target"]
        quiet = self.ae.apply(state.variables, X)
        assert "target" not in quiet
        same = self.ae.apply(state.variables, target)
        np.testing.assert_array_equal(noisy["mean"], same["mean"])
        term = self.ae.objective["nll"].fn(noisy, {"x": jnp.asarray(X)})
        logits = np.float64(noisy["logits"])
        nll = (np.log1p(np.exp(logits)) - target * logits).sum(1)
        np.testing.assert_allclose(term, nll, rtol=1e-5)

    def test_every_step_draws_anew(self, numpy_state):
        state = numpy_state(self.ae, SGD)
        step, batch = make_eval_step(self.ae), {"x": jnp.asarray(X)}
        first, again, other = (step(state, batch, jax.random.key(k))["nll"] for k in (0, 0, 1))
        assert first == again != other
