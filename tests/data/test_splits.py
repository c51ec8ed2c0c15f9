import numpy as np
import pytest

from ae_jax.data.splits import hold_out, require_split


@pytest.mark.parametrize("n", [1, 2, 5, 17, 1797])
def test_hold_out_partitions_the_rows_and_keeps_them_together(n):
    arrays = {"x": np.arange(n)[:, None], "label": np.arange(n) * 10}
    train, test = hold_out(arrays, "train"), hold_out(arrays, "test")
    assert n // 5 <= len(test["x"]) <= -(-n // 5)
    both = np.concatenate([train["x"], test["x"]])[:, 0]
    np.testing.assert_array_equal(np.sort(both), np.arange(n))
    for part in (train, test):
        np.testing.assert_array_equal(part["label"], part["x"][:, 0] * 10)


def test_appended_rows_leave_the_others_in_their_split():
    longest = hold_out({"x": np.arange(2000)}, "test")["x"]
    for n in (*range(1, 60), 1999):
        np.testing.assert_array_equal(
            hold_out({"x": np.arange(n)}, "test")["x"], longest[longest < n]
        )


def test_every_place_among_five_is_held_out_as_often():
    """A row of every five in turn would be held out with a period of the data."""
    places = np.bincount(hold_out({"x": np.arange(50_000)}, "test")["x"] % 5, minlength=5)
    assert np.abs(places - 2000).max() < 5 * np.sqrt(10_000 * 0.2 * 0.8)


def test_hold_out_is_fixed():
    """By NumPy's frozen legacy stream, as NumPy's documentation of `RandomState` guarantees: a
    change here would silently change every test set."""
    test = hold_out({"x": np.arange(40)}, "test")["x"]
    np.testing.assert_array_equal(test, 5 * np.arange(8) + [0, 3, 2, 3, 4, 2, 2, 0])


def test_require_split_lists_the_choices():
    require_split("test", ("train", "test"), "digits")
    with pytest.raises(ValueError, match="digits has no split 'tset': choose from train, test"):
        require_split("tset", ("train", "test"), "digits")
