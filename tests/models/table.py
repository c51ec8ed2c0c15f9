"""The table of variants, which `test_variants` tests every property of: a new one is a line here.

It has every family with every network that it takes, every part of the skeleton, and what no family
can say. Nets are tiny: the tests compile each of them several times.
"""

from ae_jax.bottlenecks import Binary, FlowPosterior, FullCovariance, Gaussian, Hamiltonian, Linear
from ae_jax.likelihoods import (
    Bernoulli,
    Categorical,
    DiscretizedLogisticMixture,
    Error,
    GaussianLikelihood,
    NegativeBinomial,
)
from ae_jax.models import (
    AE,
    ELBO,
    IWAE,
    L1,
    Condition,
    Conditional,
    Contractive,
    Convolutional,
    Denoising,
    Dictionary,
    Hyperspherical,
    ImportanceWeighted,
    Jacobian,
    KLSparsity,
    Ladder,
    Noise,
    Poincare,
    SemiSupervised,
    Sparse,
    Tied,
    Vanilla,
    Variational,
    VeryDeep,
)
from ae_jax.networks import MLP, RNN, ConvNet
from ae_jax.priors import (
    BinaryPrior,
    ConditionalNormal,
    FlowPrior,
    MixtureOfGaussians,
    VampPrior,
)
from ae_jax.sparsifiers import BatchTopK, Gated, JumpReLU, L1Sparsifier, MatchingPursuit, TopK

DEEP = MLP(widths=(9, 6), activation="tanh")
WIDE = MLP(widths=(9,))
POOL = ConvNet(filters=(4, 3))
STRIDE = ConvNet(filters=(4, 3), convs=2, down="stride", up="transpose")
LSTM = RNN(widths=(5,))
STACK = RNN(widths=(5, 3))  # whose last state can be the latents
GRU = RNN(widths=(5,), cell="gru")
SIGMOID = {"latent_dim": 5, "latent_activation": "sigmoid"}
SIGMOIDS = Linear(latent_dim=5, activation="sigmoid")
SMALL = Gaussian(latent_dim=3)
FLOW = {"latent_dim": 2, "widths": (5,)}
VAMP = VampPrior(pseudo_inputs=4)
LEVELS = {"widths": (8, 6, 5), "latent_dims": (4, 3, 2), "layers": 1}
TINY = {"pools": (2,), "blocks": (0, 2), "width": 4, "bottleneck": 3, "latent_channels": 2}

VARIANTS = {
    "vanilla": Vanilla(latent_dim=5),
    "vanilla-deep": Vanilla(network=DEEP, latent_dim=3, loss="mse"),
    "vanilla-mae": Vanilla(network=WIDE, latent_dim=3, loss="mae", output_activation="sigmoid"),
    "vanilla-huber": Vanilla(network=WIDE, latent_dim=3, loss="huber", reduction="sum"),
    "vanilla-conv": Vanilla(network=ConvNet(filters=(4, 3), convs=2), latent_dim=6),
    "vanilla-lstm": Vanilla(network=STACK, latent_dim=None),
    "vanilla-gru": Vanilla(network=GRU, latent_dim=4, loss="mse"),
    "conv": Convolutional(network=POOL),
    "conv-valid": Convolutional(network=ConvNet(filters=(4, 3, 2), odd="valid")),
    "conv-floor": Convolutional(network=ConvNet(filters=(4, 3), odd="floor", up="transpose")),
    "conv-bottleneck": Convolutional(network=ConvNet(filters=(4, 3), bottleneck=5, remat=True)),
    "conv-stride": Convolutional(network=STRIDE, loss="mse", output_activation="sigmoid"),
    "tied": Tied(network=DEEP, latent_dim=3),
    "denoising": Denoising(latent_dim=5),
    "denoising-mse": Denoising(network=WIDE, latent_dim=5, loss="mse", level=0.2),
    "denoising-masking": Denoising(network=WIDE, latent_dim=5, noise="masking", level=0.3),
    "denoising-salt": Denoising(latent_dim=5, noise="salt_and_pepper", level=0.3),
    "denoising-dropout": Denoising(latent_dim=5, noise="dropout", level=0.3),
    "denoising-conv": Denoising(network=POOL, latent_dim=None),
    "denoising-lstm": Denoising(network=LSTM, latent_dim=4, noise="masking"),
    "sparse-l1": Sparse(latent_dim=20, weight=0.1),
    "sparse-kl": Sparse(network=WIDE, penalty="kl", weight=0.1, **SIGMOID),
    "sparse-conv": Sparse(network=POOL, latent_dim=None, weight=0.1),
    "sparse-gru": Sparse(network=GRU, penalty="kl", weight=0.1, **SIGMOID),
    "contractive": Contractive(weight=0.1, **SIGMOID),
    "contractive-probes": Contractive(network=DEEP, latent_dim=4, probes=2, weight=0.1),
    "contractive-conv": Contractive(network=POOL, latent_dim=4, weight=0.1),
    "contractive-lstm": Contractive(network=LSTM, weight=0.1, probes=1, **SIGMOID),
    "vae": Variational(network=WIDE, latent_dim=2, beta=0.5),
    "vae-binarize": Variational(network=MLP(), latent_dim=2, binarize=True),
    "vae-free-bits": Variational(network=WIDE, latent_dim=2, free_bits=0.1, warmup_steps=5),
    "vae-gaussian": Variational(network=WIDE, latent_dim=2, likelihood="gaussian", variance=0.5),
    "vae-learned": Variational(network=WIDE, latent_dim=2, likelihood="learned_gaussian"),
    "vae-element": Variational(network=WIDE, latent_dim=2, likelihood="element_gaussian"),
    "vae-continuous": Variational(network=WIDE, latent_dim=2, likelihood="continuous_bernoulli"),
    "vae-beta-binomial": Variational(network=WIDE, latent_dim=2, likelihood="beta_binomial"),
    "vae-poisson": Variational(network=WIDE, latent_dim=2, likelihood="poisson"),
    "vae-conv": Variational(network=STRIDE, latent_dim=4),
    "vae-lstm": Variational(network=LSTM, latent_dim=2),
    "iwae-categorical": ImportanceWeighted(
        network=WIDE, latent_dim=2, likelihood=Categorical(), samples=2
    ),
    "iwae-counts-lstm": ImportanceWeighted(
        network=LSTM, latent_dim=2, likelihood=NegativeBinomial(), samples=2
    ),
    "iwae": ImportanceWeighted(network=WIDE, latent_dim=2, estimator="dreg"),
    "miwae-conv": ImportanceWeighted(network=STRIDE, latent_dim=2, samples=2, groups=2, chunk=2),
    "piwae-lstm": ImportanceWeighted(
        network=LSTM, latent_dim=2, samples=2, groups=2, partial=True, estimator="stl"
    ),
    "vae-mixture": Variational(network=WIDE, latent_dim=2, prior=MixtureOfGaussians(components=3)),
    "iwae-vamp": ImportanceWeighted(
        network=MLP(widths=(9,), gated=True), latent_dim=2, prior=VAMP, samples=2, estimator="stl"
    ),
    "svae": Hyperspherical(network=WIDE, latent_dim=3),
    "svae-stl": Hyperspherical(
        network=WIDE, latent_dim=4, bound=IWAE(samples=2, estimator="stl"), likelihood=Categorical()
    ),
    "svae-conv": Hyperspherical(network=STRIDE, latent_dim=2),
    "svae-lstm": Hyperspherical(network=LSTM, latent_dim=3),
    "poincare": Poincare(network=WIDE, latent_dim=2, gyroplanes=7),
    "poincare-dreg": Poincare(
        network=MLP(widths=(9,), decoder_widths=()),
        latent_dim=3,
        curvature=0.7,
        gyroplanes=6,
        bound=IWAE(samples=2, estimator="dreg"),
    ),
    "poincare-conv": Poincare(network=STRIDE, latent_dim=2, gyroplanes=5),
    "poincare-lstm": Poincare(network=LSTM, latent_dim=2, gyroplanes=5),
    "ladder": Ladder(**LEVELS, free_bits=0.1, likelihood=NegativeBinomial()),
    "ladder-skip": Ladder(**LEVELS, skip=True, likelihood=Bernoulli(binarize=True)),
    "ladder-batch-norm": Ladder(**LEVELS, norm="batch", activation="silu"),
    "very-deep": VeryDeep(**TINY, likelihood=DiscretizedLogisticMixture(components=2)),
    "conditional": Conditional(network=WIDE, latent_dim=2),
    "conditional-learned": Conditional(
        network=WIDE, latent_dim=2, prior=ConditionalNormal(widths=(5,)), bound=IWAE(samples=2)
    ),
    "conditional-pixels": Conditional(
        network=WIDE,
        latent_dim=2,
        condition=Condition(column="seen", classes=None, shape=(4, 3), unknown=-1.0),
    ),
    "conditional-conv": Conditional(network=STRIDE, latent_dim=2),
    "conditional-lstm": Conditional(network=LSTM, latent_dim=2),
    "m2": SemiSupervised(network=WIDE, latent_dim=2, classes=3, joint=5, dropout=0.2),
    "m2-conv": SemiSupervised(network=STRIDE, latent_dim=2, classes=3, joint=5),
    "m2-lstm": SemiSupervised(
        network=LSTM, latent_dim=2, classes=3, joint=5, likelihood=GaussianLikelihood()
    ),
    "dictionary": Dictionary(width=24, sparsifier=TopK(active=3), dead_after=1),
    "dictionary-matryoshka": Dictionary(
        width=24,
        sparsifier=BatchTopK(active=3),
        prefixes=(4, 12, 24),
        center="median",
        start="data",
        normalize=True,
        dead_after=1,
        resample_every=2,
    ),
    "dictionary-sampled": Dictionary(
        width=24, sparsifier=TopK(active=3), sampled_prefixes=2, unit_norm=False
    ),
    "dictionary-jump": Dictionary(
        width=24, sparsifier=JumpReLU(threshold=0.2, bandwidth=1.0, target_l0=3.0)
    ),
    "dictionary-l1": Dictionary(width=24, sparsifier=L1Sparsifier(), unit_norm=False),
    "dictionary-anneal": Dictionary(
        width=24, sparsifier=L1Sparsifier(last_power=0.5, anneal_to=2, warmup_steps=3)
    ),
    "dictionary-gated": Dictionary(width=24, sparsifier=Gated()),
    "dictionary-pursuit": Dictionary(width=24, sparsifier=MatchingPursuit(active=3), tied=True),
    "dictionary-lista": Dictionary(width=24, sparsifier=TopK(active=3), refine=2),
    "crosscoder": Dictionary(
        width=24, sparsifier=L1Sparsifier(target_l0=3.0), sources=True, unit_norm=False
    ),
    "transcoder": Dictionary(
        width=24, sparsifier=TopK(active=3), target_dim=5, skip=True, normalize=True
    ),
    # What no family can say:
    "ae-full-realnvp": AE(
        network=WIDE,
        bottleneck=FullCovariance(latent_dim=3),
        likelihood=Bernoulli(),
        prior=FlowPrior(steps=2, widths=(5,)),
    ),
    "ae-full-kl": AE(
        network=WIDE, bottleneck=FullCovariance(latent_dim=2), likelihood=GaussianLikelihood()
    ),
    "ae-iaf-iwae": AE(
        network=WIDE,
        bottleneck=FlowPosterior(**FLOW),
        likelihood=Bernoulli(),
        bound=IWAE(samples=2),
    ),
    "ae-maf-maf": AE(
        network=WIDE,
        bottleneck=FlowPosterior(**FLOW, flow="maf", steps=1),
        likelihood=Bernoulli(),
        prior=FlowPrior(flow="maf", steps=1, widths=(5,)),
    ),
    "ae-planar": AE(
        network=WIDE, bottleneck=FlowPosterior(latent_dim=2, flow="planar"), likelihood=Bernoulli()
    ),
    "ae-radial": AE(
        network=WIDE, bottleneck=FlowPosterior(latent_dim=2, flow="radial"), likelihood=Bernoulli()
    ),
    "ae-binary": AE(
        network=WIDE,
        bottleneck=Binary(latent_dim=6),
        prior=BinaryPrior(),
        likelihood=Bernoulli(),
        bound=IWAE(samples=3, estimator="vimco"),
    ),
    "ae-hamiltonian": AE(
        network=WIDE, bottleneck=Hamiltonian(latent_dim=2, steps=2), likelihood=Bernoulli()
    ),
    "ae-hamiltonian-iwae": AE(
        network=WIDE,
        bottleneck=Hamiltonian(latent_dim=2, steps=1, tempering=1.0),
        likelihood=Bernoulli(),
        bound=IWAE(samples=2),
    ),
    "ae-denoising-vae": AE(
        network=WIDE, bottleneck=SMALL, likelihood=Bernoulli(), corruption=Noise(level=0.2)
    ),
    "ae-sparse-conv-denoiser": AE(
        network=POOL,
        bottleneck=Linear(latent_dim=None),
        corruption=Noise(noise="masking"),
        penalties=(L1(weight=0.01),),
    ),
    "ae-contractive-kl": AE(
        network=WIDE,
        bottleneck=SIGMOIDS,
        penalties=(Jacobian(weight=0.1), KLSparsity(weight=0.1)),
    ),
    "ae-tied-sparse": AE(
        network=DEEP, bottleneck=SIGMOIDS, tied=True, penalties=(L1(), KLSparsity())
    ),
    "ae-tied-denoiser": AE(
        network=WIDE, tied=True, corruption=Noise(), likelihood=Error(loss="mse")
    ),
    "ae-color-vae": AE(
        network=POOL, bottleneck=SMALL, likelihood=DiscretizedLogisticMixture(components=2)
    ),
    "ae-recurrent-denoising-vae": AE(
        network=LSTM,
        bottleneck=SMALL,
        likelihood=GaussianLikelihood(learned=True),
        corruption=Noise(noise="masking"),
        bound=ELBO(beta=2.0),
    ),
    "ae-contractive-vae": AE(
        network=WIDE,
        bottleneck=SMALL,
        likelihood=GaussianLikelihood(),
        penalties=(Jacobian(weight=0.1), L1(weight=0.01)),
    ),
}
ONLY = {Tied: {MLP}, Convolutional: {ConvNet}}  # the networks of families that do not take all
ONLY |= {
    model: {model} for model in (Ladder, VeryDeep, Dictionary)
}  # themselves: they have no other network

IMAGES = [(7, 9, 3), (5, 5), (8, 8, 1), (28, 28), (1, 1, 2), (2, 3, 1)]
SHAPES = {
    MLP: [(4, 3), (11,), (1,), *IMAGES[:2]],
    Ladder: [(4, 3), (11,), (1,), *IMAGES[:2]],
    Dictionary: [(4, 3), (5, 5)],
    ConvNet: IMAGES,
    VeryDeep: [(6, 4, 3), (8, 8), (28, 28, 1), (2, 2, 1)],
    RNN: [(4, 3), (6,), (1, 2), (3, 2, 2), *IMAGES[:2]],
}  # the first is that of the other tests


def network_of(spec):
    """The type of its network; of a model that has no such part, its own."""
    return type(getattr(spec, "network", spec))
