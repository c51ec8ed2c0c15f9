"""Dictionaries: reconstruction, sparsity and geometry beside controls, and k-sparse probes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ae_jax import plots
from ae_jax.core import Variables, as_floats
from ae_jax.evaluation.batches import some
from ae_jax.evaluation.dictionaries import geometry, metrics
from ae_jax.evaluation.dictionaries.controls import frozen_control, random_control, row_of
from ae_jax.evaluation.dictionaries.geometry import directions_of, nearest_directions
from ae_jax.evaluation.dictionaries.metrics import DENSE_SHARE
from ae_jax.evaluation.dictionaries.probing import (
    KS,
    Probe,
    dictionary_probes,
    probe_means,
    sparse_probes,
)
from ae_jax.evaluation.dictionaries.statistics import BATCH, dictionary_statistics
from ae_jax.evaluation.tasks.labels import labeled, labels_misfit
from ae_jax.evaluation.tasks.subject import Result, Subject, joined, skipping
from ae_jax.spec import require

CLASSES = 50
"""Classes of the probes, at most."""
ELEMENTS = 4096
"""Elements of an example whose probes are compared, at most."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    dense_share: float = DENSE_SHARE
    """A latent is dense if it is active for more than this share of the examples."""
    probes: tuple[int, ...] = KS
    """Numbers of latents that tell a class."""
    probe_examples: int = 10_000
    """Training examples, and test examples, of the probes, at most; evenly spaced."""
    frozen_epochs: int = 0
    """Epochs of training, with Adam, of a control whose random decoder does not change (0: no such
    control). Give those of the run."""
    frozen_learning_rate: float = 1e-3
    """The learning rate of that training."""
    batch_size: int = BATCH
    """Examples at a time: their activations are a dense array."""

    def __post_init__(self) -> None:
        share = self.dense_share
        require(0 < share < 1, "dense_share", share, "must be between 0 and 1")
        ok = bool(self.probes) and all(k >= 1 for k in self.probes)
        require(ok, "probes", self.probes, "give at least one, each at least 1")
        for name, least in (("probe_examples", 2), ("frozen_epochs", 0), ("batch_size", 1)):
            value = getattr(self, name)
            require(value >= least, name, value, f"must be at least {least}")
        rate = self.frozen_learning_rate
        require(rate > 0, "frozen_learning_rate", rate, "must be positive")


def misfit(subject: Subject) -> str | None:
    if subject.ae.method("directions") is None:
        return "the model is no dictionary: its latents have no directions"
    for name in subject.ae.reads:
        if name not in subject.test or name not in subject.train:
            return f"the model reads {name!r}, which {subject.name} lacks"
    return None


def measure(subject: Subject, settings: Settings) -> Result:
    skipped: dict[str, str] = {}
    ae, train, seed = subject.ae, subject.train, subject.seed
    named = {"trained": subject.variables, "random": random_control(ae, train, seed=seed)}
    with skipping(skipped, "frozen"):
        if settings.frozen_epochs:
            epochs, rate = settings.frozen_epochs, settings.frozen_learning_rate
            control = frozen_control(ae, train, epochs=epochs, optimizer=rate, seed=seed)
            named["frozen"] = control
    results = [_rows(subject, settings, named, skipped)]
    with skipping(skipped, "probes"):
        results.append(_probes(subject, settings, named))
    return joined([*results, Result({}, {}, {}, skipped)])


def _rows(
    subject: Subject, settings: Settings, named: Mapping[str, Variables], skipped: dict[str, str]
) -> Result:
    ae, size = subject.ae, settings.batch_size
    sums = {
        n: dictionary_statistics(ae, v, subject.test, batch_size=size) for n, v in named.items()
    }
    near = {n: nearest_directions(directions_of(ae, v)) for n, v in named.items()}
    rows = {n: row_of(sums[n], near[n], dense_share=settings.dense_share) for n in named}
    numbers: dict[str, Any] = {"examples": sums["trained"].examples}
    numbers |= {"latents": len(sums["trained"].fired), **rows["trained"]}
    numbers["controls"] = {
        metric: {name: row[metric] for name, row in rows.items()} for metric in rows["trained"]
    }
    about = {
        "examples": "number of test examples",
        "latents": "number of latents",
        **metrics.CONVENTIONS,
        **geometry.CONVENTIONS,
        "controls": "the same metrics of a dictionary with random directions, and of one that was "
        "trained with a random decoder (frozen)",
    }
    about = {name: text for name, text in about.items() if name in numbers}
    frequencies = {name: each.frequency for name, each in sums.items()}
    examples = sums["trained"].examples
    figures = {"dictionary-density": plots.density_histogram(frequencies, examples)}
    with skipping(skipped, "dictionary-cosines"):
        if len(sums["trained"].fired) < 2:
            raise ValueError("a dictionary of one latent has no other directions")
        largest = {name: each.cosines[:, 0] for name, each in near.items()}
        figures["dictionary-cosines"] = plots.cosine_histogram(largest)
    return Result(numbers, about, figures)


def _probes(subject: Subject, settings: Settings, named: Mapping[str, Variables]) -> Result:
    if reason := labels_misfit(subject):
        raise ValueError(reason)
    train, test = (
        some(labeled(data), settings.probe_examples) for data in (subject.train, subject.test)
    )
    if (count := len(np.unique(train["label"]))) > CLASSES:
        raise ValueError(f"{subject.name} has {count} classes, more than {CLASSES}")
    ks, size = settings.probes, settings.batch_size
    found = {
        name: dictionary_probes(subject.ae, variables, train, test, ks=ks, batch_size=size)
        for name, variables in named.items()
    }
    if train["x"][0].size <= ELEMENTS:
        x, test_x = (np.asarray(as_floats(d["x"])).reshape(len(d["x"]), -1) for d in (train, test))
        found["input"] = sparse_probes(x, train["label"], test_x, test["label"], ks=ks)
    means = {
        f"{name}, k = {k}": row
        for name, probes in found.items()
        for k, row in probe_means(probes).items()
    }
    about = {
        "probes": "logistic regression of each class against the rest on the k latents whose means "
        "differ most, on test examples, mean over classes; base: the accuracy of the more frequent "
        "answer; input: k elements of the examples instead",
        "probe_classes": "the same of each class, for the trained dictionary",
    }
    numbers = {"probes": means, "probe_classes": _by_class(found["trained"])}
    return Result(numbers, about, {})


def _by_class(probes: list[Probe]) -> dict[str, dict[str, float]]:
    rows: dict[str, dict[str, float]] = {}
    for p in probes:
        row = rows.setdefault(str(p.label), {"base": p.base, "latent": p.latents[0]})
        row |= {f"accuracy {p.k}": p.accuracy, f"auc {p.k}": p.auc}
    return rows
