"""Words beside a file of examples follow its rows into their splits."""

import json

import numpy as np
import pytest

from ae_jax.data import load
from ae_jax.data.words import load_words

X = np.arange(60, dtype=np.float32).reshape(20, 3)
WORDS = [f"word {i} é\n" for i in range(20)]


def write(path, content):
    path.write_text(json.dumps(content))


def test_words_follow_the_rows_that_are_held_out(tmp_path):
    np.save(tmp_path / "tokens.npy", X)
    assert load_words(tmp_path / "tokens.npy", "test") is None
    write(tmp_path / "tokens.words.json", WORDS)
    for split in ("train", "test"):
        rows = load(tmp_path / "tokens.npy", split)["x"][:, 0] / 3
        words = load_words(str(tmp_path / "tokens.npy"), split)
        assert words.tolist() == [WORDS[int(i)] for i in rows]
    assert load_words("digits", "test") is None


def test_a_file_of_two_splits_has_words_for_each(tmp_path):
    np.savez(tmp_path / "tokens.npz", x_train=X[:16], x_test=X[16:])
    write(tmp_path / "tokens.words.json", {"train": WORDS[:16], "test": WORDS[16:]})
    assert load_words(tmp_path / "tokens.npz", "test").tolist() == WORDS[16:]
    write(tmp_path / "tokens.words.json", WORDS)
    with pytest.raises(ValueError, match="is a list, and tokens.npz has two splits"):
        load_words(tmp_path / "tokens.npz", "test")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (WORDS[1:], "has 19 words, and the data has 20 rows"),
        ([*WORDS[1:], 3], "is no list of strings"),
        ("abc", "is no list of strings"),
        ({"train": WORDS}, "has train: give a list, or train and test"),
        ({"train": WORDS, "test": []}, "has 20 words of train, and the data has 16 rows of train"),
    ],
)
def test_other_files_are_refused(tmp_path, content, says):
    np.save(tmp_path / "tokens.npy", X)
    write(tmp_path / "tokens.words.json", content)
    with pytest.raises(ValueError, match=says) as error:
        load_words(tmp_path / "tokens.npy", "test")
    assert "\n" not in str(error.value)
