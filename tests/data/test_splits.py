from types import MappingProxyType

import numpy as np
import pytest

from ae_jax.data.splits import hold_out, require_split, with_few_labels


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


class TestFewLabels:
    label = np.int32([0, 1, 2] * 20)
    data = MappingProxyType({"x": np.arange(60)[:, None], "label": label})

    def test_each_class_has_as_many(self):
        few = with_few_labels(self.data, 12)
        known = few["label"] >= 0
        np.testing.assert_array_equal(np.bincount(few["label"][known]), [4, 4, 4])
        np.testing.assert_array_equal(few["label"][known], self.label[known])
        assert (few["label"][~known] == -1).all() and few["x"] is self.data["x"]
        again, other = with_few_labels(self.data, 12), with_few_labels(self.data, 12, seed=1)
        np.testing.assert_array_equal(few["label"], again["label"])
        assert (few["label"] != other["label"]).any()

    def test_copies_are_of_the_labeled_ones(self):
        few = with_few_labels(self.data, 6, copies=4)
        assert len(few["x"]) == 60 + 3 * 6
        rows, counts = np.unique(few["x"][few["label"] >= 0], return_counts=True)
        assert len(rows) == 6 and (counts == 4).all()
        np.testing.assert_array_equal(few["label"][60:], self.label[few["x"][60:, 0]])

    @pytest.mark.parametrize("count", [0, -3, 4, 63])
    def test_numbers_that_cannot_be(self, count):
        with pytest.raises(ValueError, match=f"few_labels={count}: must be a multiple of 3"):
            with_few_labels(self.data, count)

    def test_data_without_labels(self):
        with pytest.raises(ValueError, match="few_labels=3: this data has no labels"):
            with_few_labels({"x": self.data["x"]}, 3)
