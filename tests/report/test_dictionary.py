"""The data of a page's dictionary, against the model's own activations; no browser."""

import base64
import json
import zlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ae_jax.models import Dictionary, Vanilla
from ae_jax.report import dictionary as module
from ae_jax.report import write_report
from ae_jax.report.dictionary import describe_dictionary
from ae_jax.report.opened import open_run
from ae_jax.sparsifiers import TopK
from ae_jax.spec import to_dict
from ae_jax.storage.runs import Run

COUNT, WIDTH = 40, 12
SPEC = Dictionary(width=WIDTH, sparsifier=TopK(active=3), dead_weight=0.0)
RNG = np.random.default_rng(0)
X = RNG.normal(size=(COUNT, 6)).astype(np.float32)
WORDS = np.array([f"word {i}" for i in range(COUNT)], dtype=object)


@pytest.fixture(scope="module")
def model(numpy_state):
    ae = SPEC.build((6,))
    variables = numpy_state(ae, optax.identity()).variables
    bias = jnp.zeros(WIDTH).at[jnp.array([2, 7])].set(-100.0)  # never active
    return ae, {**variables, "params": {**variables["params"], "encoder_bias": bias}}


def unpack(packed, *shape):
    data = np.frombuffer(zlib.decompress(base64.b64decode(packed["data"])), packed["dtype"])
    return data.reshape(shape) if shape else data


def test_latents_come_with_their_frequencies_examples_and_neighbors(model):
    ae, variables = model
    label = RNG.integers(0, 3, COUNT)
    got = describe_dictionary(ae, variables, {"x": X, "label": label})
    z = np.asarray(ae.features(variables, X))
    fired = (z != 0).sum(0)
    latents = unpack(got["latents"])
    assert sorted(latents) == np.flatnonzero(fired).tolist() and 2 not in latents
    assert (np.diff(fired[latents]) <= 0).all()  # the most frequent first
    np.testing.assert_allclose(unpack(got["frequency"]), fired[latents] / COUNT, rtol=1e-6)
    np.testing.assert_allclose(unpack(got["frequencies"]), fired / COUNT, rtol=1e-6)
    means = z.sum(0)[latents] / fired[latents]
    np.testing.assert_allclose(unpack(got["activation"]), means, rtol=1e-5)
    assert got["histogram"]["dead"] == (fired == 0).sum()
    assert sum(got["histogram"]["counts"]) == len(latents)
    places, rows = unpack(got["places"], -1, 8), unpack(got["rows"])
    values = unpack(got["activations"], -1, 8)
    for latent, place, value in zip(latents, places, values, strict=True):
        order = np.argsort(-z[:, latent], kind="stable")[:8]
        real = z[order, latent] > 0
        assert rows[place[real]].tolist() == order[real].tolist()
        assert (place[~real] == -1).all()
        np.testing.assert_allclose(value, np.maximum(z[order, latent], 0), rtol=1e-6)
    assert unpack(got["labels"]).tolist() == label[rows].tolist()
    decoder = np.float64(variables["params"]["decoder"])
    decoder /= np.linalg.norm(decoder, axis=1, keepdims=True)
    cosines = decoder @ decoder.T
    neighbors = unpack(got["neighbors"], -1, got["near"])
    want = np.take_along_axis(cosines[latents], neighbors, axis=1)
    np.testing.assert_allclose(unpack(got["cosines"], *want.shape), want, atol=1e-5)
    json.dumps(got)


def test_vectors_are_lines_and_directions_too(model):
    ae, variables = model
    got = describe_dictionary(ae, variables, {"x": X})
    rows = unpack(got["rows"])
    assert got["drawn"]["pictures"] is False and got["drawn"]["shape"] == [6]
    low, high = X.min(), X.max()
    values = low + unpack(got["drawn"]["values"], -1, 6) / 255 * (high - low)
    np.testing.assert_allclose(values, X[rows], atol=0.51 * (high - low) / 255)
    directions = np.asarray(variables["params"]["decoder"])[unpack(got["latents"])]
    scaled = directions / np.abs(directions).max(1, keepdims=True)
    values = unpack(got["directions"]["values"], -1, 6) / 127.5 - 1
    np.testing.assert_allclose(values, scaled, atol=1.01 / 255)


def test_images_keep_their_bytes(numpy_state):
    ae = SPEC.build((3, 4, 1))
    x = RNG.integers(0, 256, (COUNT, 3, 4, 1), np.uint8)
    got = describe_dictionary(ae, numpy_state(ae, optax.identity()).variables, {"x": x})
    assert got["drawn"]["pictures"] is True and got["directions"]["pictures"] is True
    values = unpack(got["drawn"]["values"], -1, 3, 4, 1)
    np.testing.assert_array_equal(values, x[unpack(got["rows"])])


def test_words_and_pictures_take_the_place_of_vectors(model):
    mask = np.arange(COUNT) % 4 > 0
    got = describe_dictionary(*model, {"x": X, "mask": mask}, words=WORDS)
    assert got["words"] == WORDS[mask][unpack(got["rows"])].tolist()
    assert got["drawn"] is None and got["directions"] is None and got["examples"] == mask.sum()
    shown = RNG.integers(0, 256, (COUNT, 4, 5, 3), np.uint8)
    got = describe_dictionary(*model, {"x": X, "shown": shown})
    assert got["drawn"]["shape"] == [4, 5, 3] and got["directions"] is None
    values = unpack(got["drawn"]["values"], -1, 4, 5, 3)
    np.testing.assert_array_equal(values, shown[unpack(got["rows"])])
    long = np.array(["a" * 1000] * COUNT, dtype=object)
    words = describe_dictionary(*model, {"x": X}, words=long)["words"]
    assert {len(word) for word in words} == {40}


def test_a_crosscoder_has_shares_of_each_source(numpy_state):
    ae = Dictionary(width=8, sparsifier=TopK(active=2), sources=True, unit_norm=False).build((2, 3))
    variables = numpy_state(ae, optax.identity()).variables
    got = describe_dictionary(ae, variables, {"x": RNG.normal(size=(9, 2, 3)).astype(np.float32)})
    decoder = np.asarray(variables["params"]["decoder"]).reshape(8, 2, 3)
    norms = np.linalg.norm(decoder, axis=2)[unpack(got["latents"])]
    shares = norms / norms.sum(1, keepdims=True)
    np.testing.assert_allclose(unpack(got["sources"]["shares"], -1, 2), shares, rtol=1e-5)


def test_the_size_is_bounded(model, monkeypatch):
    ae, variables = model
    whole = unpack(describe_dictionary(ae, variables, {"x": X})["latents"])
    monkeypatch.setattr(module, "LATENTS", 3)
    got = unpack(describe_dictionary(ae, variables, {"x": X})["latents"])
    assert got.tolist() == whole[[0, (len(whole) - 1) // 2, len(whole) - 1]].tolist()
    monkeypatch.setattr(module, "NUMBERS", 2 * 9 * 6)
    assert len(unpack(describe_dictionary(ae, variables, {"x": X})["latents"])) == 2
    monkeypatch.setattr(module, "ACTIVATIONS", 10 * WIDTH)
    monkeypatch.setattr(module, "FREQUENCIES", WIDTH - 1)
    got = describe_dictionary(ae, variables, {"x": X}, words=WORDS)
    assert (got["examples"], got["total"], got["frequencies"]) == (10, COUNT, None)
    kept = np.linspace(0, COUNT - 1, 10).astype(int)
    assert set(unpack(got["rows"])) <= set(kept)
    assert got["words"] == WORDS[unpack(got["rows"])].tolist()


def test_a_dictionary_without_a_live_latent_is_refused(model):
    ae, variables = model
    params = {**variables["params"], "encoder_bias": np.full(WIDTH, -1e6, np.float32)}
    with pytest.raises(ValueError, match="no latent is active for any of 40 test examples"):
        describe_dictionary(ae, {**variables, "params": params}, {"x": X})


def test_words_follow_the_labels_that_a_run_keeps(model, tmp_path, numpy_state):
    ae, label = model[0], np.arange(COUNT) % 4
    np.savez(tmp_path / "rows.npz", x_train=X, y_train=label, x_test=X, y_test=label)
    words = {"train": WORDS.tolist(), "test": WORDS.tolist()}
    (tmp_path / "rows.words.json").write_text(json.dumps(words))
    data = {"name": str(tmp_path / "rows.npz"), "keep_labels": [1, 3]}
    parts = {"model": to_dict(ae.spec), "event_shape": [6], "data": data}
    run = Run.create(tmp_path / "run", parts)
    run.checkpoints().save(numpy_state(ae, optax.identity()))
    opened = open_run(run)
    assert opened.words.tolist() == WORDS[1::2].tolist()
    assert opened.test.keys() == {"x", "label"}
    np.testing.assert_array_equal(opened.test["x"], X[1::2])


@pytest.fixture
def make(tmp_path, model, numpy_state):
    np.savez(tmp_path / "vectors.npz", x_train=X, x_test=X)

    def make(name, ae, variables):
        parts = {"model": to_dict(ae.spec), "event_shape": list(ae.event_shape)}
        run = Run.create(
            tmp_path / name, {**parts, "data": {"name": str(tmp_path / "vectors.npz")}}
        )
        run.log({"step": 1, "epoch": 1.0, "split": "test", "loss": 1.0})
        state = numpy_state(ae, optax.identity())
        run.checkpoints().save(state.replace(params=variables["params"]))
        return run.path

    return make


def page_of(run, tmp_path):
    notes = write_report([run], tmp_path / "page.html")
    return notes, (tmp_path / "page.html").read_text()


def test_only_runs_of_dictionaries_have_the_section(make, model, tmp_path, numpy_state):
    words = tmp_path / "vectors.words.json"
    words.write_text(json.dumps({"train": WORDS.tolist(), "test": WORDS.tolist()}))
    run = make("dictionary", *model)
    notes, text = page_of(run, tmp_path)
    assert notes == [] and '<section id="dictionary">' in text and '"word 3"' in text
    ae = Vanilla(latent_dim=2, loss="mse").build((6,))
    notes, text = page_of(make("other", ae, numpy_state(ae, optax.identity()).variables), tmp_path)
    assert notes == [] and '<section id="dictionary">' not in text
    words.write_text("[1]")
    notes, _ = page_of(run, tmp_path)
    (note,) = notes
    assert "no latent explorer: " in note and "is no list of strings" in note


def test_a_dictionary_that_cannot_be_shown_costs_no_other_part(make, model, tmp_path):
    ae, variables = model
    bias = np.full(WIDTH, -1e6, np.float32)
    dead = {**variables, "params": {**variables["params"], "encoder_bias": bias}}
    notes, text = page_of(make("dead", ae, jax.tree.map(jnp.asarray, dead)), tmp_path)
    assert notes == ["dead: no dictionary: no latent is active for any of 40 test examples"]
    assert 'id="explorer-0"' in text
