"""The dictionary task: what it measures, what it skips, and what it refuses."""

import json
from dataclasses import replace

import numpy as np
import optax
import pytest

from ae_jax.evaluation.dictionaries.metrics import CONVENTIONS
from ae_jax.evaluation.tasks import dictionary
from ae_jax.evaluation.tasks.subject import Subject
from ae_jax.models import Dictionary, Vanilla
from ae_jax.sparsifiers import TopK

RNG = np.random.default_rng(0)
AE = Dictionary(width=12, sparsifier=TopK(active=3), dead_weight=0.0).build((5,))


def split(count):
    label = RNG.integers(0, 3, count)
    return {"x": np.float32(RNG.normal(size=(count, 5)) + np.eye(3, 5)[label]), "label": label}


TRAIN, TEST = split(60), split(50)


@pytest.fixture(scope="module")
def variables(numpy_state):
    return numpy_state(AE, optax.identity()).variables


def without_labels(data):
    return {"x": data["x"]}


def test_a_table_of_the_dictionary_and_its_controls_and_of_probes(variables):
    subject = Subject(AE, variables, TRAIN, TEST, TEST)
    settings = dictionary.Settings(probes=(1, 2), frozen_epochs=1, batch_size=16)
    result = dictionary.measure(subject, settings)
    assert result.skipped == {} and result.metrics.keys() == result.conventions.keys()
    controls = result.metrics["controls"]
    assert controls.keys() == CONVENTIONS.keys() | {"largest_cosine", "near_duplicates"}
    for metric, row in controls.items():
        assert row.keys() == {"trained", "random", "frozen"}
        assert result.metrics[metric] == row["trained"]
    assert result.metrics["l0"] == 3 and result.metrics["examples"] == 50
    names = ("trained", "random", "frozen", "input")
    assert list(result.metrics["probes"]) == [f"{n}, k = {k}" for n in names for k in (1, 2)]
    assert result.metrics["probe_classes"].keys() == {"0", "1", "2"}
    assert result.figures.keys() == {"dictionary-density", "dictionary-cosines"}
    json.dumps(result.metrics)


def test_what_masked_rows_hold_changes_nothing(variables):
    def hidden(data):
        rows = np.arange(len(data["x"])).repeat(2)
        masked = {name: column[rows].copy() for name, column in data.items()}
        masked["x"][::2] = 50.0
        return masked | {"mask": np.arange(len(rows)) % 2}

    settings = dictionary.Settings(probes=(1,), batch_size=16)
    plain, masked = (
        dictionary.measure(Subject(AE, variables, *sets), settings)
        for sets in ((TRAIN, TEST, TEST), map(hidden, (TRAIN, TEST, TEST)))
    )
    assert json.dumps(plain.metrics) == json.dumps(masked.metrics)


def test_parts_stand_alone(numpy_state, variables):
    sets = [without_labels(data) for data in (TRAIN, TEST, TEST)]
    result = dictionary.measure(Subject(AE, variables, *sets), dictionary.Settings())
    assert result.skipped == {"probes": "data has no labels"} and "l0" in result.metrics
    one = replace(AE.spec, width=1, sparsifier=TopK(active=1)).build((5,))
    alone = Subject(one, numpy_state(one, optax.identity()).variables, *sets)
    result = dictionary.measure(alone, dictionary.Settings())
    assert (
        result.skipped["dictionary-cosines"] == "a dictionary of one latent has no other directions"
    )
    assert "largest_cosine" not in result.metrics


def test_what_is_no_dictionary_is_named(variables):
    other = Vanilla(latent_dim=2, loss="mse").build((5,))
    reason = dictionary.misfit(Subject(other, {}, TRAIN, TEST, TEST))
    assert reason == "the model is no dictionary: its latents have no directions"
    transcoder = replace(AE.spec, target_dim=3).build((5,))
    reason = dictionary.misfit(Subject(transcoder, {}, TRAIN, TEST, TEST))
    assert reason == "the model reads 'target', which data lacks"
    assert dictionary.misfit(Subject(AE, variables, TRAIN, TEST, TEST)) is None


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"dense_share": 0.0}, "dense_share=0.0: must be between 0 and 1"),
        ({"probes": ()}, "probes=(): give at least one"),
        ({"probes": (0,)}, "probes=(0,): give at least one"),
        ({"probe_examples": 1}, "probe_examples=1: must be at least 2"),
        ({"frozen_epochs": -1}, "frozen_epochs=-1: must be at least 0"),
        ({"frozen_learning_rate": 0.0}, "frozen_learning_rate=0.0: must be positive"),
        ({"batch_size": 0}, "batch_size=0: must be at least 1"),
    ],
)
def test_settings_that_cannot_work_are_one_line(options, says):
    with pytest.raises(ValueError) as error:
        dictionary.Settings(**options)
    assert says in str(error.value)
