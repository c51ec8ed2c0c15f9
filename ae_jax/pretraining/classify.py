"""A classifier head on an encoder, to train on few labels: encoder frozen, fine-tuned, or fresh.

From a trained `ae` and its state to a figure:

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
    """``x -> encode of `inner` -> z -> linear head -> class_logits`` [B, classes]."""

    inner: nn.Module
    classes: int
    frozen: bool

    def setup(self) -> None:
        self.head = nn.Dense(self.classes)

    def __call__(self, x: Array, **columns: Any) -> Outputs:
        z = self.encode(x, **columns)
        features = lax.stop_gradient(z) if self.frozen else z
        return {"z": z, "class_logits": self.head(features.reshape(len(z), -1))}

    def encode(self, x: Array, **columns: Any) -> Array:
        z: Array = self.inner.encode(x, **columns)
        return z


def classifier(ae: Autoencoder, classes: int, *, frozen: bool = True) -> Autoencoder:
    """A linear classifier of `ae`'s codes, to be trained by `fit` on ``{"x", "label"}``.

    Its loss is ``cross_entropy``, in nats per example; ``accuracy`` is logged beside it. Features
    are what ``ae.encode`` gives, without noise: of a variational model the posterior's mean. There
    is no decoder; the other parameters are those of `ae`.

    Args:
      ae: any model.
      classes: their number; labels are 0 .. classes - 1 (see `labeled`).
      frozen: train the head only. An optimizer that moves parameters even without a gradient, as
        weight decay does, needs `freeze_encoder` too.

    Raises:
      ValueError: fewer than two classes.
    """
    require(classes >= 2, "classes", classes, "must be at least 2")
    objective = {"cross_entropy": Term(_cross_entropy), "accuracy": Term(_correct, None)}
    module = Classifier(ae.module, classes, frozen)
    return replace(ae, module=module, objective=objective, spec=None, players={})


def with_encoder(model: Autoencoder, params: Any, *, seed: int = 0) -> dict[str, Any]:
    """Initial parameters of the classifier `model`, with the encoder of trained `params`.

    Args:
      model: from ``classifier(ae, ...)``.
      params: parameters of that `ae`. What `model` has no use for (the decoder) is left out.
      seed: of the head's initial weights.

    Raises:
      ValueError: `params` lacks a part of the encoder, or has it in another shape.
    """

    def fresh(key: Array) -> Any:
        return init_state(model, optax.identity(), key).params

    key = jax.random.key(seed)
    given = dict(jax.tree_util.tree_leaves_with_path(params))

    def pick(path, wanted):
        if path not in given or np.shape(given[path]) != wanted.shape:
            name = jax.tree_util.keystr(path, simple=True, separator="/")
            has = f"of shape {np.shape(given[path])}" if path in given else "missing"
            raise ValueError(f"params: {name} is {has}; the encoder's is of shape {wanted.shape}")
        return given[path]

    encoder = jax.tree_util.tree_map_with_path(pick, jax.eval_shape(fresh, key)["inner"])
    return {"inner": encoder, "head": jax.jit(lambda key: fresh(key)["head"])(key)}


def freeze_encoder(tx: optax.GradientTransformation) -> optax.GradientTransformation:
    """`tx` on a classifier's head; its encoder stays as it is, bit for bit."""
    labels = {"head": "head", "inner": "inner"}
    return optax.multi_transform({"head": tx, "inner": optax.set_to_zero()}, labels)


def labeled(data: Mapping[str, ArrayLike], classes: int) -> dict[str, np.ndarray]:
    """`data` as `fit` takes it, with labels that are sure to be classes.

    Raises `ValueError` where ``"label"`` is missing or not in 0 .. classes - 1; `TypeError` where
    it is not of integers. A compiled step could not refuse it.
    """
    checked = validated(data)
    if "label" not in checked:
        raise ValueError(f"data has no 'label', only {sorted(checked)}: a classifier needs labels")
    label = checked["label"]
    if label.min() < 0 or label.max() >= classes:
        i = int(np.argmax((label < 0) | (label >= classes)))
        raise ValueError(f"label[{i}] is {label[i]}: must be in 0 .. {classes - 1}")
    return checked


def accuracy(
    model: Autoencoder, state: TrainState, data: Mapping[str, ArrayLike], *, batch_size: int = 1000
) -> float:
    """The fraction of `data` whose largest logit is that of its label.

    Raises what `labeled` raises, and `TypeError` if `model` is not from `classifier`.
    """
    if not isinstance(model.module, Classifier):
        kind = type(model.module).__name__
        raise TypeError(f"model is a {kind}: make a classifier of it with classifier(ae, ...)")
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
