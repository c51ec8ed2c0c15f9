"""The rows of `experiments.reproduce`: published settings, their figures, and how to run them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ae_jax.data import load
from ae_jax.evaluation import fit_logistic_pca, fit_pca
from ae_jax.evaluation.reconstruction import reconstruction_figures
from ae_jax.losses import mse
from ae_jax.models import Denoising, Sparse, Vanilla
from ae_jax.models.denoising import corrupt
from ae_jax.networks import Conv, Dense
from ae_jax.objective import Autoencoder, as_floats
from ae_jax.spec import to_dict
from ae_jax.training import TrainState, fit
from experiments.config import Config, Train
from experiments.configs import CONFIGS

Figures = dict[str, float]
QUICK_EXAMPLES = 2000


@dataclass(frozen=True)
class Setup:
    """What every row is run with: where the data is, where runs go, one epoch of little data?"""

    dirs: Mapping[str, str | None]
    runs: Path
    quick: bool = False

    def data(self, name: str, split: str) -> dict[str, np.ndarray]:
        data = load(name, split, self.dirs.get(name))
        return {k: v[:QUICK_EXAMPLES] for k, v in data.items()} if self.quick else data

    def train(
        self, row: str, config: Config, seed: int, **options: Any
    ) -> tuple[Autoencoder, TrainState, dict[str, Any]]:
        """Train, or continue where an earlier call of the same row and seed stopped."""
        train = self.data(config.data.name, "train")
        test = self.data(config.data.name, "test")
        epochs = 1 if self.quick else config.train.epochs
        batches = -(-len(train["x"]) // config.train.batch_size)
        ae = config.model.build(train["x"].shape[1:])
        run_dir = self.runs / f"{row}-{seed}"
        state, history = fit(
            ae,
            train,
            epochs=epochs,
            batch_size=config.train.batch_size,
            optimizer=config.train.make_optimizer(epochs * batches),
            seed=seed,
            eval_data=test,
            run_dir=run_dir,
            config=to_dict(replace(config, seed=seed)),
            resume=(run_dir / "config.json").is_file(),
            **options,
        )
        return ae, state, {"test": test, "last": history[-1]}


@dataclass(frozen=True)
class Row:
    """`run` returns the figures of one seed; the first of them is the one the row is about."""

    setting: str
    published: str
    source: str
    reach: str
    run: Callable[[Setup, str, int], Figures]
    seeds: int = 1


def _trained(config: Config, *keys: str) -> Callable[[Setup, str, int], Figures]:
    """A row that trains one configuration and reports these test figures (see `Setup.train`)."""

    def run(setup: Setup, row: str, seed: int) -> Figures:
        ae, state, found = setup.train(row, config, seed)
        figures = reconstruction_figures(ae, state.variables, found["test"]["x"])
        return {key: {**found["last"], **figures}[key] for key in keys}

    return run


def _sparse(setup: Setup, row: str, seed: int) -> Figures:
    """BCE, and the mean activation of a code unit beside *simple*'s."""
    figures, activations = {}, {}
    for name in ("sparse", "simple"):
        ae, state, found = setup.train(f"{row}-{name}", CONFIGS[name], seed)
        x = found["test"]["x"]
        activations[name] = float(np.asarray(ae.encode(state.variables, x)).mean())
        figures[name] = reconstruction_figures(ae, state.variables, x)["bce"]
    ratio = activations["sparse"] / activations["simple"]
    return {"bce": figures["sparse"], "activation": activations["sparse"], "of simple's": ratio}


def _denoise(setup: Setup, row: str, seed: int) -> Figures:
    """How many times nearer to the clean image than the noisy one is (squared error)."""
    config = CONFIGS["denoise"]
    assert isinstance(config.model, Denoising)
    ae, state, found = setup.train(row, config, seed)
    clean = as_floats(found["test"]["x"])
    noisy = corrupt(jax.random.key(seed), clean, noise=config.model.noise, level=config.model.level)
    reconstruct = jax.jit(ae.reconstruct)
    parts = [reconstruct(state.variables, part) for part in np.split(np.asarray(noisy), 10)]
    before = float(mse(noisy, clean, reduction="mean").mean())
    after = float(mse(np.concatenate(parts), clean, reduction="mean").mean())
    return {"times better": before / after, "mse": after, "mse of the noisy input": before}


def _pca(setup: Setup, row: str, seed: int) -> Figures:
    train, test = setup.data("mnist", "train")["x"], as_floats(setup.data("mnist", "test")["x"])
    pca = fit_pca(train, 30)
    return {"squared_error": float(mse(pca.decode(pca.encode(test)), test).mean())}


def _logistic_pca(setup: Setup, row: str, seed: int) -> Figures:
    train, test = setup.data("mnist", "train")["x"], as_floats(setup.data("mnist", "test")["x"])
    lpca = fit_logistic_pca(train, 30, sweeps=2 if setup.quick else 60)
    return {"squared_error": float(mse(lpca.decode(lpca.encode(test)), test).mean())}


def _fashion(model: Any, epochs: int) -> Config:
    data = CONFIGS["stacked"].data
    return Config(
        model=model, data=data, train=Train(epochs=epochs, batch_size=32, optimizer="nadam")
    )


def _selu(widths: tuple[int, ...]) -> Dense:
    return Dense(widths=widths, activation="selu")


GERON = "Géron, Hands-on machine learning, notebook 17 (validation)"
KERAS = "Keras, the same net"
SQUARED: dict[str, Any] = {"loss": "mse", "output_activation": "sigmoid"}
LINEAR_LOGISTIC = Config(
    model=Vanilla(code_size=30, code_activation="linear"),
    data=CONFIGS["simple"].data,
    train=Train(epochs=60, batch_size=250, learning_rate=2e-3, schedule="cosine"),
)

ROWS: dict[str, Row] = {
    "simple": Row(
        "MNIST, 784-32-784, 50 epochs, batch 256: BCE per pixel",
        "0.0928", KERAS, "<= 0.0930", _trained(CONFIGS["simple"], "bce", "squared_error"), 3,
    ),
    "deep": Row(
        "MNIST, 128-64-32, 100 epochs, batch 256: BCE per pixel",
        "0.0830", KERAS, "<= 0.0830", _trained(CONFIGS["deep"], "bce", "squared_error"), 3,
    ),
    "sparse-l1": Row(
        "MNIST, 784-32-784, L1 on the code, 100 epochs: BCE per pixel",
        "0.10 with 0.46 of the activation", "Keras blog", "<= 0.100 with <= 0.46", _sparse,
    ),
    "conv": Row(
        "MNIST, convolutions 16-8-8, code 4x4x8, 50 epochs, batch 128: BCE per pixel",
        "0.0886", KERAS, "<= 0.0890", _trained(CONFIGS["conv"], "bce", "squared_error"),
    ),
    "denoise": Row(
        "MNIST, convolutions 32-32, noise 0.5 clipped: squared error, noisy over denoised",
        "-", "Keras blog's net", ">= 5 times better", _denoise,
    ),
    "vae": Row(
        "MNIST, VAE 784-500-20, 10 epochs: negative ELBO in nats, posterior sampled",
        "about 104", "flax example", "<= 104", _trained(CONFIGS["vae"], "loss", "nll", "kl"), 3,
    ),
    "pca": Row(
        "MNIST, PCA with 30 components: squared error per image",
        "13.87", "Hinton & Salakhutdinov 2006", "13.87", _pca,
    ),
    "logistic-pca": Row(
        "MNIST, 784-30-784, linear code, logistic output, cross-entropy: squared error per image",
        "8.01", "Hinton & Salakhutdinov 2006", "about 8.01",
        _trained(LINEAR_LOGISTIC, "squared_error", "bce"), 3,
    ),
    "logistic-pca-optimum": Row(
        "the same, with each code at its optimum instead of linear in the input",
        "-", "-", "-", _logistic_pca,
    ),
    "geron-stacked": Row(
        "Fashion-MNIST, 784-100-30-100-784 SELU, 20 epochs: squared error per pixel",
        "0.0132", GERON, "<= 0.0132", _trained(CONFIGS["stacked"], "mse"),
    ),
    "geron-tied": Row(
        "the same, tied weights",
        "0.0133", GERON, "<= 0.0133", _trained(CONFIGS["tied"], "mse"),
    ),
    "geron-conv": Row(
        "Fashion-MNIST, convolutions 16-32-64 SELU, pool; transposed 32-16-1: squared error",
        "0.0121", GERON, "<= 0.0121",
        _trained(
            _fashion(
                Vanilla(
                    network=Conv(
                        filters=(16, 32, 64), odd="floor", up="transpose", activation="selu"
                    ),
                    code_size=None, **SQUARED,
                ),
                10,
            ),
            "mse",
        ),
    ),
    "geron-lstm": Row(
        "Fashion-MNIST by rows, LSTM 100-30, 20 epochs: squared error per pixel",
        "0.0104", GERON, "<= 0.0104", _trained(CONFIGS["lstm"], "mse"),
    ),
    "geron-dropout": Row(
        "Fashion-MNIST, stacked, dropout 0.5 on the input, 10 epochs: squared error per pixel",
        "0.0166", GERON, "<= 0.0166",
        _trained(
            _fashion(
                Denoising(
                    network=_selu((100,)), code_size=30, code_activation="selu",
                    noise="dropout", level=0.5, **SQUARED,
                ),
                10,
            ),
            "mse",
        ),
    ),
    "geron-sparse-l1": Row(
        "Fashion-MNIST, 100-300 sigmoid codes, L1 1e-4, 10 epochs: squared error per pixel",
        "0.0111", GERON, "<= 0.0111",
        _trained(
            _fashion(
                Sparse(
                    network=_selu((100,)), code_size=300, code_activation="sigmoid",
                    penalty="l1", weight=1e-4, **SQUARED,
                ),
                10,
            ),
            "mse",
        ),
    ),
    "geron-sparse-kl": Row(
        "Fashion-MNIST, 100-300 sigmoid codes, KL to 0.1, 10 epochs: squared error per pixel",
        "0.0099", GERON, "<= 0.0099",
        _trained(
            _fashion(
                Sparse(
                    network=_selu((100,)), code_size=300, code_activation="sigmoid",
                    penalty="kl", weight=5e-2 / 32, target=0.1, **SQUARED,
                ),
                10,
            ),
            "mse",
        ),
    ),
}  # fmt: skip
