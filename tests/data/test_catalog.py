from pathlib import Path

import pytest

from ae_jax.data import catalog


def test_data_root(monkeypatch):
    monkeypatch.setenv("AE_JAX_DATA", "/from-environment")
    monkeypatch.setenv("HOME", "/home-folder")
    assert catalog.data_root("/given") == Path("/given")
    assert catalog.data_root("~/given") == Path("/home-folder/given")
    assert catalog.data_root() == Path("/from-environment")
    monkeypatch.delenv("AE_JAX_DATA")
    assert catalog.data_root() == Path("/home-folder/tensorflow_datasets")


@pytest.mark.parametrize("name", ["mnist", "cifar10", "svhn_cropped", "emnist", "emnist/letters"])
def test_known_names(name):
    catalog.require_known(name)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mnits", "'mnits' .did you mean 'mnist'"),
        ("cifar_10", "did you mean 'cifar10'"),
        ("digit", "did you mean 'digits'"),
        ("qqqqqq", "known are for example 'digits' and 'mnist'"),
        ("acts", "a folder of idx files or of shards, such as './acts', or an .npz file$"),
        ("mnist!", "did you mean 'mnist'"),
        ("mnist\nx", "no data set is called"),
        ("", "no data set is called ''"),
    ],
)
def test_unknown_names_get_a_suggestion(name, message):
    with pytest.raises(ValueError, match=message) as caught:
        catalog.require_known(name)
    assert "\n" not in str(caught.value)


def test_not_there_says_what_to_run(tmp_path):
    default = catalog.not_there("mnist", catalog.data_root())
    assert str(default).endswith("run 'python -m ae_jax.data prepare mnist'")
    elsewhere = str(catalog.not_there("mnist", tmp_path))
    assert elsewhere.endswith(f"run 'python -m ae_jax.data prepare mnist --data-dir {tmp_path}'")
