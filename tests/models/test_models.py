"""Models are what their options say, and options that cannot be are refused in one line."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ae_jax import losses
from ae_jax.bottlenecks import FlowPosterior, FullCovariance, Gaussian
from ae_jax.likelihoods import Bernoulli
from ae_jax.models import (
    AE,
    ELBO,
    IWAE,
    L1,
    Contractive,
    Convolutional,
    Denoising,
    Jacobian,
    KLSparsity,
    Noise,
    Sparse,
    Tied,
    Vanilla,
    Variational,
)
from ae_jax.networks import MLP, RNN, ConvNet
from ae_jax.priors import FlowPrior, MixtureOfGaussians, VampPrior
from ae_jax.training import make_eval_step

TX = optax.adam(1e-3)


def batch_for(shape, rows=4):
    return {"x": jnp.asarray(np.random.default_rng(0).uniform(size=(rows, *shape)), jnp.float32)}


def test_widths_are_as_written(numpy_state):
    ae = Vanilla(network=MLP(widths=(128, 64)), latent_dim=32).build((28, 28))
    state = numpy_state(ae, TX)
    kernels = [p for p in jax.tree.leaves(state.params) if p.ndim == 2]
    shapes = sorted(k.shape for k in kernels)
    assert shapes == sorted([(784, 128), (128, 64), (64, 32), (32, 64), (64, 128), (128, 784)])


def test_decoder_widths_may_differ(numpy_state):
    ae = Vanilla(network=MLP(widths=(7,), decoder_widths=(5, 6)), latent_dim=2).build((4,))
    state = numpy_state(ae, TX)
    shapes = sorted(p.shape for p in jax.tree.leaves(state.params) if p.ndim == 2)
    assert shapes == sorted([(4, 7), (7, 2), (2, 5), (5, 6), (6, 4)])


def test_one_linear_layer_is_what_it_says(numpy_state):
    """A 3-2-3 linear autoencoder against the matrix product written out."""
    ae = Vanilla(latent_dim=2, latent_activation="linear", loss="mse").build((3,))
    state = numpy_state(ae, TX)
    x = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    p = state.params
    z = x @ p["code"]["kernel"] + p["code"]["bias"]
    recon = z @ p["decoder"]["Dense_0"]["kernel"] + p["decoder"]["Dense_0"]["bias"]
    np.testing.assert_allclose(ae.encode(state.variables, x), z, rtol=1e-5)
    np.testing.assert_allclose(ae.reconstruct(state.variables, x), recon, rtol=1e-5)


def test_gates_multiply_every_hidden_layer(numpy_state):
    """Of 4-3-2-3-4: tanh(x W + b) * sigmoid(x V + c), in the encoder and the decoder."""
    network = MLP(widths=(3,), activation="tanh", gated=True)
    ae = Vanilla(network=network, latent_dim=2, latent_activation="linear", loss="mse").build((4,))
    state = numpy_state(ae, TX)
    x = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    p = jax.tree.map(np.float64, state.params)

    def dense(layer, h):
        return h @ layer["kernel"] + layer["bias"]

    def gated(part, h):
        return np.tanh(dense(part["Dense_0"], h)) / (1 + np.exp(-dense(part["Dense_1"], h)))

    z = dense(p["code"], gated(p["encoder"], x))
    recon = dense(p["decoder"]["Dense_2"], gated(p["decoder"], z))
    np.testing.assert_allclose(ae.encode(state.variables, x), z, rtol=1e-5)
    np.testing.assert_allclose(ae.reconstruct(state.variables, x), recon, rtol=1e-5)


class TestVariational:
    ae = Variational(network=MLP(widths=(16,)), latent_dim=3, beta=2.5).build((6,))
    batch = batch_for((6,))

    @pytest.fixture(autouse=True)
    def make_state(self, numpy_state):
        self.state = numpy_state(self.ae, TX)

    def test_samples_only_where_given_the_stream(self):
        x, variables = self.batch["x"], self.state.variables
        quiet = self.ae.module.apply(variables, x)
        np.testing.assert_array_equal(quiet["z"], quiet["mean"])
        noisy = self.ae.module.apply(variables, x, rngs={"latent": jax.random.key(0)})
        again = self.ae.module.apply(variables, x, rngs={"latent": jax.random.key(0)})
        other = self.ae.module.apply(variables, x, rngs={"latent": jax.random.key(1)})
        np.testing.assert_array_equal(noisy["z"], again["z"])
        assert (noisy["z"] != other["z"]).all() and (noisy["z"] != quiet["z"]).all()

    def test_samples_have_the_posterior_s_moments(self):
        x = jnp.tile(self.batch["x"][:1], (20_000, 1))
        outputs = self.ae.module.apply(self.state.variables, x, rngs={"latent": jax.random.key(0)})
        std = jnp.exp(0.5 * outputs["logvar"][0])
        np.testing.assert_allclose(outputs["z"].mean(0), outputs["mean"][0], atol=0.03)
        np.testing.assert_allclose(outputs["z"].std(0), std, rtol=0.03)

    def test_loss_is_the_negative_elbo(self):
        metrics = make_eval_step(self.ae)(self.state, self.batch, jax.random.key(7))
        np.testing.assert_allclose(metrics["loss"], metrics["nll"] + 2.5 * metrics["kl"], rtol=1e-6)
        outputs = self.ae.module.apply(self.state.variables, self.batch["x"])
        kl = losses.gaussian_kl(outputs["mean"], outputs["logvar"]).mean()
        np.testing.assert_allclose(metrics["kl"], kl, rtol=1e-6)


BAD = {
    "an error for a stochastic bottleneck": (
        lambda: AE(bottleneck=Gaussian()),
        r"likelihood=Error(.*): Gaussian latents need a likelihood, such as Bernoulli()",
    ),
    "a bound for a deterministic one": (
        lambda: AE(bound=ELBO(beta=3.0)),
        "bound=ELBO(beta=3.0, .*): is for a stochastic bottleneck, such as Gaussian(), not Linear",
    ),
    "no latent layer": (
        lambda: Vanilla(latent_dim=None),
        "latent_dim=None: MLP needs a number; a ConvNet or an RNN can do without",
    ),
    "no latent layer for a Gaussian": (
        lambda: Variational(network=ConvNet(), latent_dim=None),
        "latent_dim=None: must be at least 1",
    ),
    "no layer left to decode": (
        lambda: Vanilla(network=RNN(widths=(5,)), latent_dim=None).build((4, 3)),
        "widths=(5,): with latent_dim=None the decoder has one layer fewer than the encoder",
    ),
    "tied convolutions": (
        lambda: Tied(network=ConvNet()),
        "network=ConvNet(.*): tied weights need an MLP, whose decoder mirrors its encoder",
    ),
    "a tied decoder of its own": (
        lambda: Tied(network=MLP(decoder_widths=(4,))),
        "decoder_widths=(4,): tied weights need an MLP, whose decoder mirrors .*: use None",
    ),
    "tied gates": (
        lambda: Tied(network=MLP(widths=(5,), gated=True)),
        "gated=True: tied weights need layers without gates",
    ),
    "no components": (
        lambda: MixtureOfGaussians(components=0),
        "components=0: must be at least 1",
    ),
    "no pseudo-inputs": (
        lambda: VampPrior(pseudo_inputs=0),
        "pseudo_inputs=0: must be at least 1",
    ),
    "equal pseudo-inputs": (
        lambda: VampPrior(std=0.0),
        "std=0.0: must be positive: equal inputs stay equal",
    ),
    "a Vamp of other posteriors": (
        lambda: AE(bottleneck=FullCovariance(), likelihood=Bernoulli(), prior=VampPrior()),
        "bottleneck=FullCovariance(latent_dim=20): a VampPrior mixes diagonal Gaussians: use "
        "Gaussian()",
    ),
    "a flow without steps": (lambda: FlowPrior(steps=0), "steps=0: must be at least 1"),
    "a flow without layers": (
        lambda: FlowPosterior(widths=()),
        "widths=(): must have at least one entry, each at least 1",
    ),
    "a coupling of one latent": (
        lambda: Variational(latent_dim=1, prior=FlowPrior()),
        "latent_dim=1: a coupling flow needs at least 2 latents: use flow='maf'",
    ),
    "the covariance of one latent": (
        lambda: FullCovariance(latent_dim=1),
        "latent_dim=1: must be at least 2: of one, use Gaussian()",
    ),
    "free bits of a mixture": (
        lambda: Variational(free_bits=0.1, prior=MixtureOfGaussians()),
        "free_bits=0.1: free bits need a KL that is a sum over latents, not that of Gaussian and "
        "MixtureOfGaussians",
    ),
    "free bits of a full covariance": (
        lambda: AE(bottleneck=FullCovariance(), likelihood=Bernoulli(), bound=ELBO(free_bits=0.1)),
        "free_bits=0.1: free bits need a KL that is a sum over latents, not that of "
        "FullCovariance and StandardNormal",
    ),
    "the density of a flow at other samples": (
        lambda: AE(
            bottleneck=FlowPosterior(), likelihood=Bernoulli(), bound=IWAE(estimator="dreg")
        ),
        "estimator='dreg': FlowPosterior knows its density at its own samples only: use "
        "'reparametrized'",
    ),
    "tied and stochastic": (
        lambda: AE(tied=True, bottleneck=Gaussian(), likelihood=Bernoulli()),
        "bottleneck=Gaussian(latent_dim=20): tied weights need a Linear bottleneck",
    ),
    "KL sparsity of ReLUs": (
        lambda: Sparse(penalty="kl"),
        "Linear(latent_dim=32, activation='relu'): KL sparsity needs latents in (0, 1): "
        "a latent_dim and the activation 'sigmoid'",
    ),
    "KL sparsity of a feature map": (
        lambda: Sparse(network=ConvNet(), latent_dim=None, penalty="kl"),
        "Linear(latent_dim=None, .*): KL sparsity needs .* a latent_dim",
    ),
    "KL sparsity of a Gaussian": (
        lambda: AE(bottleneck=Gaussian(), likelihood=Bernoulli(), penalties=(KLSparsity(),)),
        "bottleneck=Gaussian(latent_dim=20): KL sparsity needs latents in (0, 1)",
    ),
    "a penalty twice": (
        lambda: AE(penalties=(L1(), Jacobian(), L1(weight=2.0))),
        "penalties=['l1', 'jacobian', 'l1']: give L1 once, with the sum of the weights",
    ),
    "a penalty without its tuple": (
        lambda: AE(penalties=L1()),
        "penalties=L1(weight=0.0001): must be a tuple of L1(...) or KLSparsity(...) or",
    ),
    "a name instead of a specification": (
        lambda: AE(corruption="gaussian"),
        "corruption='gaussian': must be Noise(...)",
    ),
    "noise and binarize": (
        lambda: AE(bottleneck=Gaussian(), likelihood=Bernoulli(binarize=True), corruption=Noise()),
        "corruption=Noise(noise='gaussian', .*): binarize would draw the target from the noisy",
    ),
    "gray densities of binary data": (
        lambda: Variational(binarize=True, likelihood="gaussian"),
        "binarize=True: is for the bernoulli likelihood only",
    ),
    "logits through an activation": (
        lambda: Vanilla(output_activation="sigmoid"),
        "output_activation='sigmoid': bce takes logits: use 'linear'",
    ),
    "a fraction of 1": (
        lambda: Denoising(noise="masking", level=1.0),
        "level=1.0: is a fraction, below 1",
    ),
    "a negative level": (lambda: Denoising(level=-0.1), "level=-0.1: must not be negative"),
    "a negative weight": (lambda: Contractive(weight=-1.0), "weight=-1.0: must not be negative"),
    "no probes": (lambda: Contractive(probes=0), "probes=0: must be at least 1"),
    "a convolution of vectors": (
        lambda: Convolutional().build((11,)),
        "event_shape=(11,): a ConvNet needs images, [H, W] or [H, W, C]; use an MLP for vectors",
    ),
    "a recurrence over nothing": (
        lambda: Vanilla(network=RNN()).build(()),
        "event_shape=(): an RNN needs sequences, [T] or [T, ...]",
    ),
}


@pytest.mark.parametrize(("make", "message"), BAD.values(), ids=BAD.keys())
def test_what_cannot_be_is_refused_in_one_line(make, message):
    pattern = ".*".join(re.escape(part) for part in message.split(".*"))
    with pytest.raises(ValueError, match=pattern) as error:
        make()
    assert "\n" not in str(error.value)


def test_wrong_event_shape_is_named(numpy_state):
    ae = Vanilla().build((8, 8))
    state = numpy_state(ae, TX)
    with pytest.raises(ValueError, match=r"\(2, 9, 8\); this model was built for \[B, 8, 8\]"):
        ae.encode(state.variables, jnp.zeros((2, 9, 8)))
