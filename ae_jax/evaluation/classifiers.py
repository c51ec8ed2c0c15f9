"""Small image classifiers of this package; their features are used for FID and KID.

Each is the encoder of an autoencoder with a linear head (`ae_jax.pretraining.classify`), trained by
``python -m experiments.train_features``. Its features are the 64 units before the head, with mean
square 1 over training images. Metrics carry the name of the classifier, as in
``fid[mnist-conv-64]``, because values of different classifiers are not comparable.
"""

from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from ae_jax.core import Autoencoder, Batch, Variables
from ae_jax.evaluation.batches import in_batches
from ae_jax.models import Vanilla
from ae_jax.networks import ConvNet
from ae_jax.pretraining.classify import classifier
from ae_jax.spec import nearest
from ae_jax.storage.export import read_weights

WEIGHTS = Path(__file__).with_name("weights")
CLASSES = 10
SPEC = Vanilla(network=ConvNet(filters=(16, 32, 64)), latent_dim=64)


class About(NamedTuple):
    """The data set of a classifier, the shape of its images, and its test accuracy."""

    data: str
    event_shape: tuple[int, ...]
    accuracy: float


CLASSIFIERS = {
    "mnist-conv-64": About("mnist", (28, 28, 1), 0.9937),
    "fashion_mnist-conv-64": About("fashion_mnist", (28, 28, 1), 0.9124),
    "cifar10-conv-64": About("cifar10", (32, 32, 3), 0.7051),
}


def classifier_of(data: str) -> str | None:
    """The name of the classifier that was trained on a data set, or None."""
    return next((name for name, about in CLASSIFIERS.items() if about.data == data), None)


def build_classifier(event_shape: tuple[int, ...]) -> Autoencoder:
    """The network of all classifiers, for images of a shape; its output is ``class_logits``."""
    return classifier(SPEC.build(event_shape), CLASSES, frozen=False)


def load_classifier(name: str) -> tuple[Autoencoder, Variables]:
    """A classifier with its weights, which are stored as float16 and used as float32.

    Raises `ValueError` for a name that is not in `CLASSIFIERS`, or a damaged file.
    """
    if name not in CLASSIFIERS:
        raise ValueError(f"classifier {name!r}: {nearest(name, CLASSIFIERS)}")
    model = build_classifier(CLASSIFIERS[name].event_shape)
    x = jax.ShapeDtypeStruct((1, *model.event_shape), jnp.float32)
    expected = jax.eval_shape(model.module.init, jax.random.key(0), x)
    weights = read_weights(WEIGHTS / f"{name}.safetensors", expected, stored="F16")
    return model, jax.tree.map(lambda a: a.astype(jnp.float32), weights)


def image_features(name: str, images: np.ndarray) -> np.ndarray:
    """Features [N, 64] of images [N, H, W, C], which are uint8 or floats in [0, 1].

    Raises `ValueError` for images of another shape, or as `load_classifier`.
    """
    model, variables = load_classifier(name)
    if images.shape[1:] != model.event_shape:
        raise ValueError(
            f"classifier {name} is for images {model.event_shape}, not {images.shape[1:]}"
        )

    def fn(variables: Variables, batch: Batch) -> Array:
        return model.encode(variables, batch["x"])

    features: np.ndarray = in_batches(fn, variables, {"x": images})
    return features
