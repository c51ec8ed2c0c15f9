"""The classifiers that come with the package."""

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from ae_jax.data import load
from ae_jax.evaluation import classifiers
from ae_jax.evaluation.classifiers import (
    CLASSIFIERS,
    WEIGHTS,
    classifier_of,
    image_features,
    load_classifier,
)

LIMIT = 300_000


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_come_with_small_finite_weights(name):
    about = CLASSIFIERS[name]
    assert classifier_of(about.data) == name
    assert (WEIGHTS / f"{name}.safetensors").stat().st_size < LIMIT
    model, variables = load_classifier(name)
    assert model.event_shape == about.event_shape
    assert all(np.isfinite(a).all() and a.dtype == "float32" for a in jax.tree.leaves(variables))


@pytest.mark.parametrize(
    "name", ["mnist-conv-64", pytest.param("cifar10-conv-64", marks=pytest.mark.slow)]
)
def test_accuracy_is_as_stated(name, real_data):
    """On 2000 test images, within three standard errors of the figure for all."""
    about = CLASSIFIERS[name]
    test = load(about.data, "test", real_data)
    x, label = np.asarray(test["x"][:2000]), test["label"][:2000]
    model, variables = load_classifier(name)
    logits = jax.jit(model.apply)(variables, x.astype(np.float32) / 255)["class_logits"]
    error = (about.accuracy * (1 - about.accuracy) / 2000) ** 0.5
    assert abs((logits.argmax(-1) == label).mean() - about.accuracy) < 3 * error + 0.005


@pytest.mark.slow
def test_features_are_the_units_before_the_head():
    model, variables = load_classifier("mnist-conv-64")
    x = np.random.default_rng(0).integers(0, 256, size=(7, 28, 28, 1)).astype(np.uint8)
    found = image_features("mnist-conv-64", x)
    assert found.shape == (7, 64) and (found >= 0).all()
    head = jax.tree.map(np.float64, variables["params"]["head"])
    logits = model.apply(variables, x.astype(np.float32) / 255)["class_logits"]
    np.testing.assert_allclose(found @ head["kernel"] + head["bias"], logits, rtol=1e-4, atol=1e-4)
    again = image_features("mnist-conv-64", x / np.float32(255))
    np.testing.assert_allclose(again, found, rtol=1e-4)


def test_unknown_names_and_other_shapes_are_refused():
    assert classifier_of("digits") is None
    with pytest.raises(ValueError, match="classifier 'mnist-conv': did you mean"):
        load_classifier("mnist-conv")
    with pytest.raises(ValueError, match=r"is for images \(28, 28, 1\), not \(8, 8, 1\)"):
        image_features("mnist-conv-64", np.zeros((2, 8, 8, 1), np.uint8))


def test_damaged_weights_are_refused(tmp_path, monkeypatch):
    file = WEIGHTS / "mnist-conv-64.safetensors"
    weights = load_file(file)
    monkeypatch.setattr(classifiers, "WEIGHTS", tmp_path)
    (tmp_path / file.name).write_bytes(file.read_bytes()[:-100])
    with pytest.raises(ValueError, match="is damaged"):
        load_classifier("mnist-conv-64")
    save_file({name: np.float32(a) for name, a in weights.items()}, tmp_path / file.name)
    with pytest.raises(ValueError, match=r"is F32.*, but F16.* in the model"):
        load_classifier("mnist-conv-64")
