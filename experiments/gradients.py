"""How noisy each estimator's gradient is against the number of samples K, by group of parameters.

python -m experiments.gradients                                 the linear Gaussian model below
python -m experiments.gradients runs/iwae --samples 1 10 100    a trained model, on its test set

The table is the signal-to-noise ratio ||E g|| / sqrt(E ||g - E g||^2) of each group of parameters,
and its slope: the power of K with which it grows. The model is an importance-weighted one (`IWAE`);
its bound is replaced by ``IWAE(samples=K, estimator=...)``. Without a run it is the model of
Rainforth et al. (2018): z ~ N(0, I), x ~ N(z, I) in 20 dimensions, q(z | x) = N(x / 2, 2/3 I), and
all parameters 0.01 away from these values, at random.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, get_args

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro

from ae_jax import plots
from ae_jax.core import Autoencoder, Batch, Variables, init_state
from ae_jax.evaluation.gradients import gradient_snr
from ae_jax.files import finite, writable_file
from ae_jax.likelihoods import GaussianLikelihood
from ae_jax.models import IWAE, ImportanceWeighted
from ae_jax.models.bound import Estimator
from ae_jax.networks import MLP
from ae_jax.spec import nearest, require
from experiments import evaluate
from experiments.cli import parse_options, run_main
from experiments.evaluate import make_subject

ESTIMATORS: tuple[str, ...] = get_args(Estimator)
Ratios = dict[str, dict[str, dict[int, float]]]
"""Of each estimator and group of parameters, by K."""


@dataclass(frozen=True, kw_only=True)
class Options:
    run: Annotated[str | None, tyro.conf.Positional] = None
    """A run directory of a model with an `IWAE` bound; by default the linear Gaussian model."""
    samples: tuple[int, ...] = (1, 3, 10, 30, 100, 300)
    """The numbers of samples K."""
    estimators: tuple[str, ...] = ESTIMATORS
    draws: int = 2000
    """Gradients that are drawn for each entry."""
    examples: int = 8
    """The size of the batch, which is the same for all."""
    seed: int = 0
    output: str | None = None
    """A file for the ratios, .json, or for their figure, .png."""

    def __post_init__(self) -> None:
        for name in self.estimators:
            require(name in ESTIMATORS, "estimators", name, nearest(name, ESTIMATORS))
        for name, least in (("draws", 2), ("examples", 1)):
            require(getattr(self, name) >= least, name, getattr(self, name), f"at least {least}")
        ok = self.output is None or Path(self.output).suffix in (".json", ".png")
        require(ok, "output", self.output, "must end in .json or .png")
        ok = len(self.samples) > 0 and min(self.samples) >= 1
        require(ok, "samples", self.samples, "each must be at least 1")


def main(argv: Sequence[str]) -> None:
    options = parse_options(argv, Options, prog="python -m experiments.gradients", about=__doc__)
    path = None if options.output is None else writable_file(options.output)
    ae, variables, batch = (
        linear_gaussian(options.examples, options.seed)
        if options.run is None
        else _trained(options.run, options.examples)
    )
    ratios = measure(
        ae,
        variables,
        batch,
        samples=options.samples,
        estimators=options.estimators,
        draws=options.draws,
        seed=options.seed,
        report=lambda line: print(line, file=sys.stderr, flush=True),
    )
    print(table(ratios))
    if path is not None and path.suffix == ".json":
        measured = finite({"ratios": ratios, "slopes": slopes(ratios)})
        path.write_text(json.dumps(measured, indent=1))
    elif path is not None:
        plots.save(plots.gradient_curves(ratios), path)


def measure(
    ae: Autoencoder,
    variables: Variables,
    batch: Batch,
    *,
    samples: Sequence[int],
    estimators: Sequence[str] = ESTIMATORS,
    draws: int,
    seed: int = 0,
    report: Any = lambda line: None,
) -> Ratios:
    """The signal-to-noise ratios of the model `ae` with each estimator and number of samples.

    Raises `ValueError` for a model without an `IWAE` bound. VIMCO has no ratio for one sample.
    """
    ratios: Ratios = {}
    for estimator in estimators:
        for count in samples:
            if estimator == "vimco" and count < 2:
                continue
            other = _with_bound(ae, count, estimator)
            snr = gradient_snr(other, variables, batch, draws=draws, seed=seed)
            report(
                f"{estimator}, K = {count}: " + ", ".join(f"{k} {v:.3g}" for k, v in snr.items())
            )
            for group, value in snr.items():
                ratios.setdefault(estimator, {}).setdefault(group, {})[count] = value
    return ratios


def slopes(ratios: Ratios) -> dict[str, dict[str, float]]:
    """The power of K with which each ratio grows: the slope of a line through the logarithms."""

    def slope(curve: Mapping[int, float]) -> float:
        points = [(k, v) for k, v in curve.items() if 0 < v < np.inf]
        if len(points) < 2:
            return float("nan")
        logs = np.log(np.array(points, float))
        return float(np.polyfit(logs[:, 0], logs[:, 1], 1)[0])

    return {
        estimator: {group: slope(curve) for group, curve in groups.items()}
        for estimator, groups in ratios.items()
    }


def table(ratios: Ratios) -> str:
    """The ratios in Markdown, a row for each estimator and group."""
    counts = sorted({k for groups in ratios.values() for curve in groups.values() for k in curve})
    lines = [f"| estimator | parameters | {' | '.join(f'K = {k}' for k in counts)} | slope |"]
    lines.append("| --- " * (len(counts) + 3) + "|")
    fitted = slopes(ratios)
    for estimator, groups in ratios.items():
        for group, curve in groups.items():
            cells = [f"{curve[k]:.3g}" if k in curve else "-" for k in counts]
            slope = f"{fitted[estimator][group]:+.2f}"
            lines.append(f"| {estimator} | {group} | {' | '.join(cells)} | {slope} |")
    return "\n".join(lines)


def linear_gaussian(
    examples: int, seed: int, size: int = 20
) -> tuple[Autoencoder, Variables, Batch]:
    """The model of Rainforth et al. (2018) near its optimum, and a batch that it draws."""
    spec = ImportanceWeighted(
        network=MLP(), latent_dim=size, likelihood=GaussianLikelihood(), samples=1
    )
    ae = spec.build((size,))
    key, noise, data = jax.random.split(jax.random.key(seed), 3)
    state = init_state(ae, optax.identity(), key)
    eye, zeros = jnp.eye(size), jnp.zeros(size)
    params: dict[str, Any] = {
        "mean": {"kernel": 0.5 * eye, "bias": zeros},
        "logvar": {"kernel": 0 * eye, "bias": zeros + jnp.log(2 / 3)},
        "decoder": {"Dense_0": {"kernel": eye, "bias": zeros}},
    }
    leaves, treedef = jax.tree.flatten(params)
    assert str(jax.tree.structure(state.params)) == str(treedef)
    keys = jax.random.split(noise, len(leaves))
    moved = [a + 0.01 * jax.random.normal(k, a.shape) for a, k in zip(leaves, keys, strict=True)]
    x = jnp.sqrt(2.0) * jax.random.normal(data, (examples, size))
    return ae, {"params": jax.tree.unflatten(treedef, moved)}, {"x": x}


def _with_bound(ae: Autoencoder, samples: int, estimator: Any) -> Autoencoder:
    """`ae` with another number of samples and another estimator."""
    parts = ae.spec.parts() if hasattr(ae.spec, "parts") else None
    if parts is None or not isinstance(parts.bound, IWAE):
        needs = "has no importance-weighted bound: train one with ImportanceWeighted or IWAE()"
        raise ValueError(f"the model {type(ae.spec).__name__} {needs}")
    bound = IWAE(samples=samples, estimator=estimator)
    return replace(replace(parts, bound=bound).build(ae.event_shape), dtype=ae.dtype)


def _trained(path: str, examples: int) -> tuple[Autoencoder, Variables, Batch]:
    """The model of a run, and the first examples of its test set."""
    subject, _ = make_subject(evaluate.Options(run=path))
    batch = {name: jnp.asarray(column[:examples]) for name, column in subject.test.items()}
    return subject.ae, subject.variables, batch


if __name__ == "__main__":
    run_main(main)
