"""Fingerprints: every change of a data set is noticed, and named."""

import numpy as np
import pytest

from ae_jax.data import load, prepare, scan
from ae_jax.data.fingerprint import changes, fingerprint, require_unchanged

X = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
DATA = {"x": X, "label": np.arange(40, dtype=np.int32)}


def changed(**columns):
    data = {name: column for name, column in {**DATA, **columns}.items() if column is not None}
    return changes({"test": fingerprint(DATA)}, {"test": fingerprint(data)})


def test_every_value_counts(monkeypatch):
    whole = fingerprint(DATA)
    for i in range(40):
        other = X.copy()
        other[i, i % 3] += 1e-6
        assert changed(x=other) == ["test 'x' has other values"]
    assert changed(x=np.asfortranarray(X)) == changed(label=DATA["label"].copy()) == []
    monkeypatch.setattr(scan, "BLOCK", 7)  # bytes: a row at a time
    assert fingerprint(DATA) == whole


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"x": X[:38], "label": None}, ["test has 38 rows instead of 40"]),
        ({"x": X[:, :2]}, ["test 'x' is float32[N, 2] instead of float32[N, 3]"]),
        ({"x": np.uint8(X)}, ["test 'x' is uint8[N, 3] instead of float32[N, 3]"]),
        ({"label": None}, ["test lacks 'label'"]),
        ({"mask": np.ones(40)}, ["test has 'mask' in addition"]),
        ({"x": X + 1, "label": DATA["label"] + 1},
         ["test 'x' has other values", "test 'label' has other values"]),
    ],
)  # fmt: skip
def test_what_changed_is_named(columns, expected):
    assert changed(**columns) == expected


def test_only_sets_of_both_are_compared():
    old, new = {"train": fingerprint(DATA)}, {"test": fingerprint({"x": X})}
    assert changes(old, new) == changes({}, new) == []


@pytest.mark.parametrize("stored", [None, 3, {"test": None}, {"test": {"x": 3, "label": "?"}}])
def test_a_damaged_description_is_no_traceback(stored):
    new = {"test": fingerprint(DATA)}
    if isinstance(stored, dict) and stored["test"]:
        with pytest.raises(ValueError, match="fingerprint of 'x' that cannot be read"):
            require_unchanged("run", {"fingerprint": stored}, new, allow_changes=False)
    else:
        require_unchanged("run", {"fingerprint": stored}, new, allow_changes=False)


def test_images_that_are_decoded_while_training_are_compared_by_their_files(tmp_path):
    x = np.random.default_rng(0).integers(0, 256, (9, 28, 28, 1), np.uint8)
    prints = []
    for folder, images in (("a", x), ("b", x), ("c", x[::-1] // 2)):
        prepare.write("mnist", {"train": (images, np.arange(9))}, tmp_path / folder)
        prints.append(fingerprint(load("mnist", "train", tmp_path / folder, decode="always")))
    a, b, c = ({"train": each} for each in prints)
    assert changes(a, b) == [] and changes(a, c) == ["train 'x' has other values"]
    decoded = {"train": fingerprint(load("mnist", "train", tmp_path / "a"))}
    assert changes(a, decoded) == changes(decoded, a) == []
    fewer = {"train": fingerprint({"x": x[:5]})}
    assert changes(a, fewer) == ["train has 5 rows instead of 9"]
