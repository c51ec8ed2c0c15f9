"""Train a classifier head on an encoder with few labels; the encoder is frozen or fine-tuned.

The accuracy of 10 classes on the latents of a trained `ae`, from 10 labels each:

    model = classifier(ae, 10)
    few = labeled({"x": x, "label": label}, 10)
    trained, _ = fit(model, few, params=with_encoder(model, state.params), epochs=100)
    accuracy(model, trained, test)
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array, lax
from jax.typing import ArrayLike

from ae_jax.core import Autoencoder, Batch, Outputs, Term, TrainState, init_state, metric_names
from ae_jax.data import validated
from ae_jax.data.memory import batch_at, sequential_order
from ae_jax.spec import require
from ae_jax.training.loop import make_eval_loop, no_sums
from ae_jax.training.step import make_eval_step


class Classifier(nn.Module):
    """A linear head on the latents of `inner`: ``[B, *event] -> class_logits [B, classes]``."""

    inner: nn.Module
    classes: int
    frozen: bool

    def setup(self) -> None:
        self.head = nn.Dense(self.classes)

    def __call__(self, x: Array, **columns: Any) -> Outputs:
        """Return the latents ``z`` and ``class_logits``."""
        z = self.encode(x, **columns)
        features = lax.stop_gradient(z) if self.frozen else z
        return {"z": z, "class_logits": self.head(features.reshape(len(z), -1))}

    def encode(self, x: Array, **columns: Any) -> Array:
        """Return the latents of `inner`."""
        z: Array = self.inner.encode(x, **columns)
        return z


def classifier(ae: Autoencoder, classes: int, *, frozen: bool = True) -> Autoencoder:
    """Return a linear classifier on the latents of `ae`, to train by `fit` on ``{"x", "label"}``.

    The loss is ``cross_entropy`` in nats per example, and ``accuracy`` is a further metric. The
    features are the latents of ``ae.encode``, without noise: for a variational model the mean of
    the posterior. The classifier has the parameters of `ae` without its decoder, and those of the
    head.

    Args:
      ae: any model.
      classes: number of classes; the labels are 0 .. classes - 1 (see `labeled`).
      frozen: train only the head. With an optimizer that changes parameters of zero gradient, for
        example by weight decay, use `freeze_encoder` too.

    Raises:
      ValueError: fewer than two classes.
    """
    require(classes >= 2, "classes", classes, "must be at least 2")
    objective = {"cross_entropy": Term(_cross_entropy), "accuracy": Term(_correct, None)}
    module = Classifier(ae.module, classes, frozen)
    return replace(
        ae,
        module=module,
        objective=objective,
        spec=None,
        players={},
        output_range=Autoencoder.output_range,
    )


def with_encoder(model: Autoencoder, params: Any, *, seed: int = 0) -> dict[str, Any]:
    """Return initial parameters of the classifier `model`, with the encoder of trained `params`.

    Args:
      model: a classifier from ``classifier(ae, ...)``.
      params: trained parameters of that `ae`; the decoder's are ignored.
      seed: seed of the head's initial weights.

    Raises:
      ValueError: a parameter of the encoder is missing from `params`, or has another shape.
    """

    def fresh(key: Array) -> Any:
        return init_state(model, optax.identity(), key).params

    key = jax.random.key(seed)
    trained = dict(jax.tree_util.tree_leaves_with_path(params))

    def pick(path, expected):
        if path not in trained or np.shape(trained[path]) != expected.shape:
            name = jax.tree_util.keystr(path, simple=True, separator="/")
            problem = f"has shape {np.shape(trained[path])}" if path in trained else "is missing"
            raise ValueError(f"params: {name} {problem}; the encoder's has shape {expected.shape}")
        return trained[path]

    encoder = jax.tree_util.tree_map_with_path(pick, jax.eval_shape(fresh, key)["inner"])
    return {"inner": encoder, "head": jax.jit(lambda key: fresh(key)["head"])(key)}


def freeze_encoder(tx: optax.GradientTransformation) -> optax.GradientTransformation:
    """Return `tx` for a classifier's head only; its encoder does not change, bit for bit."""
    labels = {"head": "head", "inner": "inner"}
    return optax.multi_transform({"head": tx, "inner": optax.set_to_zero()}, labels)


def labeled(data: Mapping[str, ArrayLike], classes: int) -> dict[str, np.ndarray]:
    """Return `data` for `fit` after checking that all labels are in 0 .. classes - 1.

    A compiled train step cannot check this. Raises `ValueError` if ``"label"`` is missing or out of
    range, and `TypeError` if it does not contain integers.
    """
    checked = validated(data)
    if "label" not in checked:
        raise ValueError(f"data has no 'label', only {sorted(checked)}: add the labels")
    label = checked["label"]
    if label.min() < 0 or label.max() >= classes:
        i = int(np.argmax((label < 0) | (label >= classes)))
        raise ValueError(f"label[{i}] is {label[i]}: must be in 0 .. {classes - 1}")
    return checked


def accuracy(
    model: Autoencoder, state: TrainState, data: Mapping[str, ArrayLike], *, batch_size: int = 1000
) -> float:
    """Return the fraction of `data` that `model` classifies as its label.

    Raises the errors of `labeled`, and `TypeError` if `model` is not from `classifier`.
    """
    if not isinstance(model.module, Classifier):
        kind = type(model.module).__name__
        raise TypeError(f"model is a {kind}: turn it into a classifier with classifier(ae, ...)")
    examples = labeled(data, model.module.classes)
    count = len(examples["x"])
    order = sequential_order(count=count, batch_size=min(batch_size, count))
    evaluate = jax.jit(make_eval_loop(make_eval_step(model), partial(batch_at, padded=True)))
    zeros, placed = no_sums(metric_names(model.objective)), (jax.device_put(examples), order)
    sums = evaluate(state, zeros, placed, 0, len(order), jax.random.key(0), 0)
    return float(sums.mean()["accuracy"])


def _cross_entropy(outputs: Outputs, batch: Batch) -> Array:
    logits = outputs["class_logits"]
    return optax.softmax_cross_entropy_with_integer_labels(logits, batch["label"])


def _correct(outputs: Outputs, batch: Batch) -> Array:
    return (outputs["class_logits"].argmax(-1) == batch["label"]).astype(jnp.float32)
