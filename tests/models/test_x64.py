"""Every model computes the same under jax_enable_x64: its arrays stay float32."""

from functools import partial
from typing import get_args

import jax
import numpy as np
import pytest

from ae_jax import export, fit, load_exported
from ae_jax.bottlenecks import Binary, FlowPosterior, FullCovariance, Hamiltonian
from ae_jax.likelihoods import Bernoulli, Error, Likelihood
from ae_jax.models import (
    AE,
    IWAE,
    L1,
    Conditional,
    Contractive,
    Convolutional,
    Denoising,
    Dictionary,
    Hyperspherical,
    ImportanceWeighted,
    Ladder,
    Model,
    Poincare,
    SemiSupervised,
    Sparse,
    Tied,
    Vanilla,
    Variational,
    VeryDeep,
)
from ae_jax.networks import MLP, RNN, ConvNet
from ae_jax.priors import BinaryPrior, FlowPrior, MixtureOfGaussians, VampPrior
from ae_jax.sparsifiers import BatchTopK, JumpReLU, TopK
from ae_jax.spec import kinds_of

SMALL = MLP(widths=(5,), activation="tanh")
STRIDE = ConvNet(filters=(3,), down="stride", up="transpose")
SIGMOID = {"latent_dim": 3, "latent_activation": "sigmoid"}
SPECS = {
    "dictionary": Dictionary(
        width=12, sparsifier=TopK(active=2), center="median", prefixes=(4, 12)
    ),
    "dictionary-jump": Dictionary(width=12, sparsifier=JumpReLU(target_l0=2.0, bandwidth=0.5)),
    "dictionary-batch": Dictionary(
        width=12, sparsifier=BatchTopK(active=2), dead_after=1, resample_every=2
    ),
    "vanilla": Vanilla(network=SMALL, latent_dim=3),
    "lstm": Vanilla(network=RNN(widths=(5, 3)), latent_dim=None, loss="mse"),
    "gru": Vanilla(network=RNN(widths=(4,), cell="gru"), latent_dim=3, loss="huber"),
    "convolutional": Convolutional(network=ConvNet(filters=(3, 2))),
    "strided": Convolutional(network=STRIDE, latent_dim=3),
    "tied": Tied(network=SMALL, latent_dim=3),
    "denoising": Denoising(network=SMALL, latent_dim=3),
    "masking": Denoising(network=SMALL, latent_dim=3, noise="masking", level=0.3),
    "sparse-l1": Sparse(latent_dim=3),
    "sparse-kl": Sparse(penalty="kl", **SIGMOID),
    "contractive": Contractive(network=SMALL, **SIGMOID),
    "probes": Contractive(network=SMALL, probes=2, **SIGMOID),
    "variational": Variational(network=SMALL, latent_dim=2),
    "learned": Variational(network=SMALL, latent_dim=2, likelihood="learned_gaussian"),
    "binarized": Variational(network=SMALL, latent_dim=2, binarize=True, free_bits=0.1),
    "recurrent-vae": Variational(network=RNN(widths=(4,)), latent_dim=2),
    "iwae": ImportanceWeighted(network=SMALL, latent_dim=2),
    "vamp": Variational(network=SMALL, latent_dim=2, prior=VampPrior(pseudo_inputs=3)),
    "mixture": AE(
        network=SMALL,
        bottleneck=FullCovariance(latent_dim=2),
        likelihood=Bernoulli(),
        prior=MixtureOfGaussians(components=2),
    ),
    "flows": AE(
        network=SMALL,
        bottleneck=FlowPosterior(latent_dim=2, flow="maf", widths=(5,)),
        likelihood=Bernoulli(),
        prior=FlowPrior(steps=2, widths=(5,)),
    ),
    "radial": AE(
        network=SMALL,
        bottleneck=FlowPosterior(latent_dim=2, flow="radial"),
        likelihood=Bernoulli(),
    ),
    "hamiltonian": AE(
        network=SMALL, bottleneck=Hamiltonian(latent_dim=2, steps=1), likelihood=Bernoulli()
    ),
    "binary": AE(
        network=SMALL,
        bottleneck=Binary(latent_dim=4),
        prior=BinaryPrior(),
        likelihood=Bernoulli(),
        bound=IWAE(samples=2, estimator="vimco"),
    ),
    "sphere": Hyperspherical(network=SMALL, latent_dim=3),
    "ball": Poincare(network=SMALL, latent_dim=2, gyroplanes=3),
    "conditional": Conditional(network=SMALL, latent_dim=2),
    "m2": SemiSupervised(network=SMALL, latent_dim=2, classes=3, joint=4),
    "ladder": Ladder(widths=(5, 4), latent_dims=(3, 2), norm="batch"),
    "very-deep": VeryDeep(
        pools=(2,), blocks=(1, 1), width=4, bottleneck=3, latent_channels=2, skip_above=1e6
    ),
    "skeleton": AE(network=SMALL, penalties=(L1(),)),
}
FAST = ("vanilla",)


@pytest.fixture
def x64():
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", False)


@pytest.fixture
def without(request):
    """The same training without x64, before it is enabled."""
    return trained(request.getfixturevalue("name"))


def shape_of(name):
    return (4, 4, 1) if isinstance(SPECS[name], Convolutional | VeryDeep) else (4, 3)


def data(name, dtype=np.float32):
    return np.random.default_rng(0).uniform(size=(10, *shape_of(name))).astype(dtype)


def trained(name, **options):
    x = data(name)
    return fit(SPECS[name].build(shape_of(name)), x, epochs=1, batch_size=4, eval_data=x, **options)


@pytest.mark.parametrize("likelihood", [each for each in get_args(Likelihood) if each is not Error])
def test_means_and_draws_of_likelihoods(likelihood, x64):
    module, h = likelihood().module((2, 3)), np.zeros((4, *likelihood().output_shape((2, 3))))

    def both(h):
        outputs = module.apply({}, h)
        return outputs, module.apply({}, outputs, rngs={"latent": key}, method="sample")

    key = jax.random.key(0)
    for leaf in jax.tree.leaves(jax.eval_shape(both, np.float32(h))):
        assert leaf.dtype == np.float32


def test_the_table_is_complete():
    assert {spec.kind for spec in SPECS.values()} == set(kinds_of(Model))


@pytest.mark.parametrize(
    "name", [n if n in FAST else pytest.param(n, marks=pytest.mark.slow) for n in SPECS]
)
def test_training_evaluation_and_export(name, without, x64, tmp_path):
    state, history = trained(name, run_dir=tmp_path / "run")
    # SELU and sums aside it is the same computation: also the same noise.
    for got, want in zip(history, without.history, strict=True):
        np.testing.assert_allclose(got["loss"], want["loss"], rtol=1e-4)
    floats = [a for a in jax.tree.leaves((state.params, state.opt_state)) if a.dtype.kind == "f"]
    assert {str(a.dtype) for a in floats} == {"float32"}
    ae, x = SPECS[name].build(shape_of(name)), data(name, np.float64)
    z = ae.encode(state.variables, x)
    recon = ae.decode(state.variables, jax.tree.map(np.float64, z))
    assert {leaf.dtype for leaf in jax.tree.leaves((z, recon))} == {np.dtype(np.float32)}
    export(tmp_path / "run", tmp_path / "model")
    loaded, variables, _ = load_exported(tmp_path / "model")
    jax.tree.map(np.testing.assert_array_equal, loaded.encode(variables, x), z)
    content = bytearray((tmp_path / "model" / "encode.stablehlo").read_bytes())
    called = jax.export.deserialize(content).call(np.float32(x))
    close = partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6)
    jax.tree.map(close, called, z)
