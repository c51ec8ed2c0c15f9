"""Semi-supervised variational autoencoders: a class that is known of a few examples only (M2)."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from ae_jax import losses
from ae_jax.bottlenecks import Gaussian
from ae_jax.core import Autoencoder, Batch, Outputs, Term
from ae_jax.likelihoods import Bernoulli, Likelihood
from ae_jax.likelihoods.module import LikelihoodModule
from ae_jax.models.condition import check_classes
from ae_jax.networks import MLP, Network
from ae_jax.networks.activations import Activation, activation
from ae_jax.networks.layers import dense
from ae_jax.priors import StandardNormal
from ae_jax.spec import Spec, require

UNKNOWN = -1


@dataclass(frozen=True, kw_only=True)
class SemiSupervised(Spec):
    """M2: ``p(x) = sum_y p(y) int p(x | y, z) p(z) dz``, with ``q(y | x)`` and ``q(z | x, y)``.

    The column ``label`` is a class y, or -1 where it is unknown. The loss is, in nats per example,
    the negative bound of ``log p(x, y)`` where y is known; elsewhere that of ``log p(x)``, exact in
    y: ``sum_y q(y | x) (L(x, y) + log q(y | x))``, with L that negative bound and a uniform p(y).
    Labeled examples add ``-weight * log q(y | x)``.

    Latents are the probabilities of the classes, then z given the most likely class. The metrics
    ``labeled`` and ``correct`` are the shares of examples with a known class and with one that the
    classifier finds: ``correct / labeled`` is its accuracy.

    Source: Kingma et al., Semi-supervised learning with deep generative models, 2014, equations 6
    to 9.
    """

    kind: ClassVar[str] = "semi_supervised"

    network: Network = MLP(widths=(500,), activation="softplus")
    """Of the decoder, of the encoder of z, and of the classifier q(y | x)."""
    latent_dim: int = 50
    """Of z."""
    classes: int = 10
    joint: int = 500
    """Units of the hidden layer that reads the features of x and the class, before q(z | x, y)."""
    activation: Activation = "softplus"
    """The activation of that layer."""
    likelihood: Likelihood = Bernoulli()
    weight: float = 1.0
    """Of the classification of a labeled example. The paper's is a tenth of the examples over the
    labeled ones; here too the mean is over all examples of a batch."""
    dropout: float = 0.0
    """The fraction of its features that are set to 0 in the classifier, in training."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.classes >= 2, "classes", self.classes, "must be at least 2")
        require(self.joint >= 1, "joint", self.joint, "must be at least 1")
        needs = "needs a density, such as Bernoulli()"
        require(self.likelihood.density, "likelihood", self.likelihood, needs)
        Gaussian(latent_dim=self.latent_dim)  # which checks it
        if isinstance(self.weight, int | float):  # a sweep's is traced
            require(self.weight >= 0, "weight", self.weight, "must not be negative")
        if isinstance(self.dropout, int | float):
            require(0 <= self.dropout < 1, "dropout", self.dropout, "must be in [0, 1)")

    def build(self, event_shape: Sequence[int]) -> Autoencoder:
        """The autoencoder for examples of `event_shape`."""
        shape, likelihood = tuple(event_shape), self.likelihood
        module = SemiSupervisedModule(
            encoder=likelihood.encoder(self.network.encoder(shape)),
            classifier=likelihood.encoder(self.network.encoder(shape)),
            decoder=self.network.decoder(likelihood.output_shape(shape), flat_latent=True),
            likelihood=likelihood.module(shape),
            bottleneck=Gaussian(latent_dim=self.latent_dim).module(),
            classes=self.classes,
            joint=self.joint,
            activation=self.activation,
            dropout=self.dropout,
        )
        return Autoencoder(
            module=module,
            objective={
                "bound": Term(_bound),
                "classification": Term(_classification, self.weight),
                "nll": Term(_nll, None),
                "kl": Term(_kl, None),
                "labeled": Term(_labeled, None),
                "correct": Term(_correct, None),
            },
            event_shape=shape,
            spec=self,
            support=likelihood.support,
            output_range=likelihood.output_range,
            columns=dict.fromkeys(self.network.columns, ()),
            supervised=("label",),
            check=self.check,
        )

    def check(self, columns: Mapping[str, np.ndarray], training: bool) -> None:
        """Raises `ValueError` for classes that do not exist, and training sets without any label
        (see `Autoencoder.check`)."""
        if "label" in columns:
            label = check_classes("label", columns, UNKNOWN, self.classes)
            if training and (label == UNKNOWN).all():
                raise ValueError("label is -1 of every example: some must be of a known class")
        elif training:
            raise ValueError("needs a column label: a class, or -1 where it is unknown")


class SemiSupervisedModule(nn.Module):
    """It reads no label: its outputs are of every class, [B, classes], and terms choose."""

    encoder: nn.Module
    classifier: nn.Module
    decoder: nn.Module
    likelihood: LikelihoodModule
    bottleneck: nn.Module
    classes: int
    joint: int
    activation: Activation
    dropout: float | Array

    def setup(self) -> None:
        nn.share_scope(self, self.likelihood)
        self.class_logits = dense(self.classes)
        # A layer of the features beside the class, in two parts: the first knows no class.
        self.of_features = dense(self.joint, self.activation)
        self.of_class = dense(self.joint, self.activation, use_bias=False)

    def __call__(self, x: Array, **columns: Any) -> Outputs:
        observed = self.likelihood.observe(x)
        log_q = self.classify(observed, **columns)
        drawn, nll = self._of_every_class(observed, columns)
        z, likely = drawn["z"], log_q.argmax(1)
        rows = jnp.arange(len(x))
        latents = jnp.concatenate([jnp.exp(log_q).astype(z.dtype), z[likely, rows]], axis=1)
        target = {} if observed is x else {"target": observed}
        return {
            "z": latents,
            "log_class": log_q,
            "class_nll": nll,
            "class_kl": jax.vmap(StandardNormal().kl)(
                {name: drawn[name] for name in ("mean", "logvar")}
            ).T,
            **self.decode(latents),
            **target,
        }

    def classify(self, x: Array, **columns: Any) -> Array:
        """``log q(y | x)`` in nats of each class: [B, classes]."""
        h = self.classifier(x, **columns)
        h = h.reshape(len(h), -1)
        if self.has_rng("dropout"):
            kept = jax.random.uniform(self.make_rng("dropout"), h.shape) >= self.dropout
            h = jnp.where(kept, h, 0.0) / (1.0 - self.dropout)
        return jax.nn.log_softmax(self.class_logits(h).astype(jnp.float32))

    def encode(self, x: Array, **columns: Any) -> Array:
        """The probabilities of the classes, and the mean of z given the likeliest: [B, K]."""
        log_q = self.classify(x, **columns)
        y = jax.nn.one_hot(log_q.argmax(1), self.classes, dtype=x.dtype)
        h = self.of_features(self._features(x, columns)) + self.of_class(y)
        z = self.bottleneck.encode(activation(self.activation)(h))
        return jnp.concatenate([jnp.exp(log_q).astype(z.dtype), z], axis=1)

    def decode(self, latents: Array) -> Outputs:
        return self.likelihood(self.decoder(latents))

    def log_weight(self, x: Array, **columns: Any) -> Array:
        """``log sum_y p(y) p(x | y, z_y) p(z_y) / q(z_y | x, y)`` in nats, one draw of z for each
        class, whose exponential has the mean p(x): [B]."""
        drawn, nll = self._of_every_class(x, columns)
        z = drawn["z"]  # [classes, B, latent_dim]
        log_prior = -losses.gaussian_nll(
            jnp.zeros_like(z).reshape(-1, z.shape[-1]), 0.0, z.reshape(-1, z.shape[-1])
        ).reshape(z.shape[:-1])
        each = log_prior - self.bottleneck.log_prob(drawn) - nll.T
        return jax.nn.logsumexp(each, axis=0) - math.log(self.classes)

    def sample(self, n: int) -> Outputs:
        """n examples of the classes in turn, ``"label"``, with z from N(0, I)."""
        label = jnp.arange(n) % self.classes
        y = jax.nn.one_hot(label, self.classes)
        shape = (n, self.bottleneck.latent_dim)
        z = jax.random.normal(self.make_rng("latent"), shape, jnp.float32)
        latents = jnp.concatenate([y, z], axis=1)
        decoded = self.decode(latents)
        drawn = {"x": self.likelihood.sample(decoded), "label": label}
        return {"z": latents, **drawn, **decoded}

    def _features(self, x: Array, columns: Batch) -> Array:
        h = self.encoder(x, **columns)
        flat: Array = h.reshape(len(h), -1)
        return flat

    def _of_every_class(self, x: Array, columns: Batch) -> tuple[Any, Array]:
        """z [classes, B, latent_dim] with its posterior, and ``-log p(x | y, z)`` [B, classes],
        decoded as one batch."""
        count, rows = self.classes, len(x)
        y = jnp.eye(count, dtype=x.dtype)
        h = self.of_features(self._features(x, columns))[:, None] + self.of_class(y)
        h = activation(self.activation)(h).reshape(rows * count, -1)  # each row with its classes
        drawn = self.bottleneck(h)
        latents = jnp.concatenate([jnp.tile(y, (rows, 1)).astype(drawn["z"].dtype), drawn["z"]], 1)
        decoded = self.decode(latents)
        batch = {"x": x, **columns}
        tiled = {name: jnp.repeat(column, count, axis=0) for name, column in batch.items()}
        nll = -self.likelihood.log_prob(decoded, tiled).reshape(rows, count)
        by_class = {
            name: drawn[name].reshape(rows, count, -1).swapaxes(0, 1)
            for name in ("z", "mean", "logvar")
        }
        return by_class, nll


def _known(batch: Batch) -> tuple[Array, Array]:
    """The label of each row, and whether it is known: [B], [B]."""
    label = batch.get("label", jnp.full(len(batch["x"]), UNKNOWN))
    return jnp.maximum(label, 0), label >= 0


def _of_label(each: Array, label: Array) -> Array:
    chosen: Array = jnp.take_along_axis(each, label[:, None], axis=1)[:, 0]
    return chosen


def _nll(outputs: Outputs, batch: Batch) -> Array:
    """``sum_y q(y | x) (-log p(x | y, z))``, whatever is known of y: [B]."""
    nll: Array = (jnp.exp(outputs["log_class"]) * outputs["class_nll"]).sum(1)
    return nll


def _kl(outputs: Outputs, batch: Batch) -> Array:
    """``KL(q(y, z | x) || p(y) p(z))``, whatever is known of y: [B]."""
    log_q = outputs["log_class"]
    each = outputs["class_kl"] + log_q + math.log(log_q.shape[1])
    kl: Array = (jnp.exp(log_q) * each).sum(1)
    return kl


def _bound(outputs: Outputs, batch: Batch) -> Array:
    label, known = _known(batch)
    both = outputs["class_nll"] + outputs["class_kl"] + math.log(outputs["log_class"].shape[1])
    labeled = _of_label(both, label)
    return jnp.where(known, labeled, _nll(outputs, batch) + _kl(outputs, batch))


def _classification(outputs: Outputs, batch: Batch) -> Array:
    label, known = _known(batch)
    return jnp.where(known, -_of_label(outputs["log_class"], label), 0.0)


def _labeled(outputs: Outputs, batch: Batch) -> Array:
    return _known(batch)[1].astype(jnp.float32)


def _correct(outputs: Outputs, batch: Batch) -> Array:
    label, known = _known(batch)
    return (known & (outputs["log_class"].argmax(1) == label)).astype(jnp.float32)
