"""Generation of new examples: likelihood, distances between sets of images, samples.

Latents are drawn from the prior of a variational model. For every model, they are also drawn from a
Gaussian and a mixture of Gaussians that are fitted to the latents of the training set.
"""

import math
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from ae_jax.core import Variables, as_floats, reconstruction
from ae_jax.evaluation.batches import BATCH
from ae_jax.evaluation.classifiers import CLASSIFIERS, classifier_of, image_features
from ae_jax.evaluation.conditions import shown_conditions
from ae_jax.evaluation.density import draw, fit_density
from ae_jax.evaluation.distances import fid, kid
from ae_jax.evaluation.likelihood import (
    ACTIVE,
    bits_per_dimension,
    elbo,
    log_likelihood,
    observed,
    posterior_metrics,
    posterior_samples,
)
from ae_jax.evaluation.reconstruction import pixel_range, reconstruct_all
from ae_jax.evaluation.tasks.generation_figures import decode_all, draw_samples, paths_to_draw
from ae_jax.evaluation.tasks.subject import Result, Subject, joined, skipping
from ae_jax.spec import nearest, require

LARGEST_LATENT = 1024  # the size of covariances grows with the square
DRAWN = 100  # samples in a figure


@dataclass(frozen=True, kw_only=True)
class Settings:
    likelihood_examples: int = 1000
    """Number of random test examples for the importance-weighted likelihood."""
    importance_samples: int = 100
    """Posterior samples for each of these examples; 5000 in Burda et al. (2016)."""
    elbo_samples: int = 1
    """Posterior samples per test example for the evidence lower bound, which uses all of them."""
    components: int = 10
    """Number of components of the mixture of Gaussians."""
    distance_examples: int = 10_000
    """Images in each set that FID and KID compare, at most."""
    classifier: str | None = None
    """The classifier for the features of FID and KID; by default the one of this data set."""
    draws: bool = False
    """Draw the model's own samples from p(x | z), with its noise, instead of the mean of each."""

    def __post_init__(self) -> None:
        counts = ("likelihood_examples", "importance_samples", "elbo_samples", "components")
        for name, least in {**dict.fromkeys(counts, 1), "distance_examples": 2}.items():
            value = getattr(self, name)
            require(value >= least, f"generation.{name}", value, f"must be at least {least}")
        if self.classifier is not None and self.classifier not in CLASSIFIERS:
            near = nearest(self.classifier, CLASSIFIERS)
            raise ValueError(f"generation.classifier={self.classifier!r}: {near}")


def misfit(subject: Subject) -> str | None:
    if not np.isfinite(subject.train_latents).all():
        return "latents are not finite: has the training diverged?"
    size = subject.train_latents.shape[1]
    if size > LARGEST_LATENT and subject.ae.method("sample") is None:
        return f"no density is fitted to latents of size {size}, more than {LARGEST_LATENT}"
    return None


def measure(subject: Subject, settings: Settings) -> Result:
    parts, skipped = list[Result](), dict[str, str]()
    weight, unit = subject.train_latents.var(0, dtype=np.float64), "variance"
    if subject.ae.method("log_weight") is not None:
        with skipping(skipped, "likelihood"):
            parts.append(_likelihood(subject, settings))
            if "latent_kl" in parts[0].metrics:
                weight, unit = np.array(parts[0].metrics["latent_kl"]), "KL in nats"
    latents: dict[str, np.ndarray] = {}
    with skipping(skipped, "fitted densities"):
        latents, density = _draw_latents(subject, settings, skipped)
        parts.append(density)
    if subject.are_images:
        images: dict[str, np.ndarray] = {}
        with skipping(skipped, "samples"):
            images |= _sampled(subject, settings)
            if latents and subject.decodes:
                images |= decode_all(subject, latents)
        shown = {name: each[:DRAWN] for name, each in images.items()}
        if "prior" in images and subject.ae.given:
            given = shown_conditions(subject.ae, subject.test, DRAWN)
            shown["prior"] = _draw(subject, settings, DRAWN, given)
        figures = draw_samples(subject, shown)
        if subject.decodes:
            for name, draw in paths_to_draw(subject, weight, unit).items():
                with skipping(skipped, name):
                    figures[name] = draw()
        else:
            why = "the features are not the latents, or columns are needed to decode them"
            skipped["interpolations and traversals"] = why
        parts.append(Result({}, {}, figures))
        with skipping(skipped, "FID and KID"):
            parts.append(_distances(subject, settings, images))
    else:
        shape = subject.ae.event_shape
        why = f"examples of shape {shape} are not images [H, W, 1 or 3]"
        skipped["FID, KID and figures"] = why
    return joined([*parts, Result({}, {}, {}, skipped)])


def _likelihood(subject: Subject, settings: Settings) -> Result:
    """The likelihood of a latent variable model and its parts."""
    ae, variables, seed = subject.ae, subject.variables, subject.seed
    data, drawn = dict(subject.test), ""
    bernoulli = "logits" in _noisy_outputs(subject)
    discrete = bernoulli or ae.support in ("bytes", "counts")
    if _draws_its_data(subject):
        data["x"] = observed(ae, variables, data, seed=seed)
        drawn = ", x drawn as Bernoulli(x) once"
    elif bernoulli and not _is_binary(data["x"]):
        drawn = "; x is not binary, so this is a cross-entropy and not a likelihood"
    bound = elbo(ae, variables, data, samples=settings.elbo_samples, seed=seed)
    chosen = _chosen({**data, "elbo": bound["elbo"]}, settings.likelihood_examples, seed)
    base = chosen.pop("elbo")
    gain = log_likelihood(ae, variables, chosen, samples=settings.importance_samples, seed=seed)
    gain = np.float64(gain) - base
    count, size = len(data["x"]), math.prod(ae.event_shape)
    metrics: dict[str, Any] = {
        "nll": -_mean(bound["elbo"]) - _mean(gain),
        "nll_error": float(gain.std() * math.sqrt(1 / len(gain) - 1 / count)),
        "negative_elbo": -_mean(bound["elbo"]),
    }
    if "nll" in bound:
        metrics |= {"distortion": _mean(bound["nll"]), "rate": _mean(bound["kl"])}
    posterior = posterior_metrics(ae, variables, data)
    if "active_units" in posterior:
        metrics["active_units"] = posterior["active_units"]
    if "kl" in posterior and len(subject.latent_sizes) > 1 and subject.decodes:
        ends = np.cumsum(subject.latent_sizes)[:-1]
        active = np.split(posterior["kl"] > ACTIVE, ends)
        metrics["active_units_by_level"] = [int(level.sum()) for level in active]
    if "kl" in posterior:
        metrics["latent_kl"] = posterior["kl"].tolist()
    metrics["latent_mean_variance"] = posterior["mean_variance"].tolist()
    conventions = {
        "nll": "upper bound on -log p(x), importance-weighted, "
        f"K = {settings.importance_samples}, nats per example{drawn}: negative_elbo less the mean "
        f"difference on {len(gain)} test examples",
        "nll_error": f"standard error, because only {len(gain)} of {count} examples are used",
        "negative_elbo": f"distortion + rate, nats per example, all test examples{drawn}",
        "distortion": f"-log p(x | z), z from the posterior, {settings.elbo_samples} per example "
        "(of a bound of several samples: times these)",
        "rate": "KL(q(z | x) || p(z))",
        "active_units": "latents whose posterior mean has variance above 0.01 (Burda et al. 2016)",
        "active_units_by_level": "latents with a KL above 0.01 nats, of each level, the lowest "
        "first",
        "latent_kl": "KL of each latent, nats, mean over examples; of a hierarchy, given the "
        "centers of the levels above",
        "latent_mean_variance": "variance over examples of each latent's posterior mean",
    }
    if "length" not in data:
        how, levels = "", None
        if ae.support == "bytes":
            how = ", of probabilities of the 256 levels: nothing to dequantize"
        if not discrete:
            levels = 256 if data["x"].dtype == np.uint8 else None
            how = ", of a density"
            if levels:
                how = " + log2(255), of 8-bit pixels x / 255, approximate: without dequantization"
        metrics["bits_per_dimension"] = bits_per_dimension(metrics["nll"], size, levels=levels)
        conventions["bits_per_dimension"] = f"nll / ({size} log 2){how}"
    return Result(metrics, {name: conventions[name] for name in metrics}, {})


def _draw_latents(
    subject: Subject, settings: Settings, skipped: dict[str, str]
) -> tuple[dict[str, np.ndarray], Result]:
    """New latents [N, K] by the density that they are drawn from, and the fit of the densities."""
    ae, variables, seed = subject.ae, subject.variables, subject.seed
    count, size = _set_size(subject, settings), subject.train_latents.shape[1]
    train, test, of = subject.train_latents, subject.test_latents, "latents"
    if ae.method("log_weight") is not None:
        if size > LARGEST_LATENT:
            raise ValueError(f"latents of size {size}, more than {LARGEST_LATENT}")
        train, test = (
            posterior_samples(ae, variables, split, seed=seed + i)
            for i, split in enumerate((subject.train, subject.test))
        )
        of = "posterior samples" + _as_they_are(subject)
    components = min(settings.components, len(train))
    fitted = {}
    for name, number in {"mixture": components, "gaussian": 1}.items():
        with skipping(skipped, name):
            fitted[name] = fit_density(train, number, seed=seed)
    drawn = {name: draw(density, count, seed=seed) for name, density in fitted.items()}
    metrics = {name: float(density.score(test)) for name, density in fitted.items()}
    meaning = (
        f"log-density of test {of}, nats per example, under a Gaussian and a mixture of "
        f"{components} fitted to those of training examples"
    )
    return drawn, Result({"latent_density": metrics}, {"latent_density": meaning}, {})


def _sampled(subject: Subject, settings: Settings) -> dict[str, np.ndarray]:
    """Images that the model draws by itself, as ``{"prior": [N, *event_shape]}``, if it does.

    A conditional model draws them given the columns of random test examples.
    """
    ae = subject.ae
    if ae.method("sample") is None:
        return {}
    count = _set_size(subject, settings)
    rows = {name: subject.test[name] for name in ("x", *ae.given)}
    given = _chosen(rows, count, subject.seed)
    del given["x"]
    return {"prior": _draw(subject, settings, count, given)}


def _draw(
    subject: Subject, settings: Settings, count: int, given: dict[str, np.ndarray]
) -> np.ndarray:
    """`count` images that the model draws, `given` these columns [count, ...]."""
    ae, size = subject.ae, min(BATCH, count)

    @jax.jit
    def draw(variables: Variables, key: Array, given: Any) -> Array:
        columns = {name: as_floats(column) for name, column in given.items()}
        outputs = ae.apply(variables, size, rngs={"latent": key}, method="sample", **columns)
        if settings.draws and "x" not in outputs:
            raise ValueError("generation.draws=True: the samples of this module have no 'x'")
        drawn: Array = outputs["x"] if settings.draws else reconstruction(outputs)
        return drawn

    keys = jax.random.split(jax.random.key(subject.seed), -(-count // size))
    rows = np.arange(len(keys) * size).reshape(-1, size) % count
    images = [
        np.asarray(draw(subject.variables, key, {n: column[at] for n, column in given.items()}))
        for key, at in zip(keys, rows, strict=True)
    ]
    return np.concatenate(images)[:count]


def _distances(subject: Subject, settings: Settings, made: dict[str, np.ndarray]) -> Result:
    """FID and KID of sets of images, compared with training images."""
    name = settings.classifier or classifier_of(subject.name)
    if name is None:
        raise ValueError(f"no classifier comes with ae_jax for {subject.name}")
    about, count = CLASSIFIERS[name], _set_size(subject, settings)
    if about.event_shape != subject.ae.event_shape:
        raise ValueError(f"{name} is for images {about.event_shape}")
    pixels = pixel_range(subject.ae, subject.test)
    if pixels is None:
        raise ValueError("the images lie neither in [0, 1] nor in [-1, 1]")
    train = _chosen({"x": subject.train["x"]}, count, subject.seed)
    test = _chosen(dict(subject.test), count, subject.seed)
    recon = reconstruct_all(subject.ae, subject.variables, test)
    sets = {**made, "reconstructions": recon, "test": np.asarray(as_floats(test["x"]))}
    images = np.concatenate([np.asarray(as_floats(train["x"])), *sets.values()])
    shares = ((images - pixels[0]) / (pixels[1] - pixels[0])).clip(0, 1)
    reference, *features = np.split(image_features(name, shares), 1 + len(sets))
    rows = {
        row: {
            f"fid[{name}]": fid(each, reference),
            f"kid[{name}]": kid(each, reference, seed=subject.seed),
        }
        for row, each in zip(sets, features, strict=True)
    }
    meaning = (
        f"{count} images against {count} training images, by features of {name} (test accuracy "
        f"{about.accuracy:.3f}); test images have the lowest possible value{_as_they_are(subject)}"
    )
    return Result({"distances": rows}, {"distances": meaning}, {})


def _as_they_are(subject: Subject) -> str:
    """A note for models of binary images that are applied to gray ones."""
    return " (of x as it is, not drawn)" if _draws_its_data(subject) else ""


def _noisy_outputs(subject: Subject) -> Any:
    """Names and shapes of the module's outputs where it draws what it observes."""
    one = {name: jnp.asarray(column[:1]) for name, column in subject.test.items()}
    rngs = {"corrupt": jax.random.key(0)}
    return jax.eval_shape(lambda v: subject.ae.outputs(v, one, rngs=rngs), subject.variables)


def _draws_its_data(subject: Subject) -> bool:
    return "target" in _noisy_outputs(subject)


def _set_size(subject: Subject, settings: Settings) -> int:
    return min(settings.distance_examples, len(subject.train["x"]), len(subject.test["x"]))


def _chosen(data: dict[str, np.ndarray], count: int, seed: int) -> dict[str, np.ndarray]:
    """At most `count` random examples, in their original order."""
    rows = np.sort(np.random.default_rng(seed).permutation(len(data["x"]))[:count])
    return {name: column[rows] for name, column in data.items()}


def _is_binary(x: np.ndarray) -> bool:
    return bool(np.isin(x, (0, 255 if x.dtype == np.uint8 else 1)).all())


def _mean(values: np.ndarray) -> float:
    return float(np.mean(values, dtype=np.float64))
