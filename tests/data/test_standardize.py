"""Standardization, against NumPy in float64."""

import numpy as np
import pytest

from ae_jax.data.standardize import standardize, statistics_of

RNG = np.random.default_rng(0)


def test_columns_of_a_table():
    x = np.float32(RNG.normal(size=(50, 3)) * [1e-3, 1.0, 1e4] + [5.0, 0.0, -1e5])
    statistics = statistics_of({"x": x})
    exact = x.astype(np.float64)
    np.testing.assert_allclose(statistics["mean"], exact.mean(0), rtol=1e-12)
    np.testing.assert_allclose(statistics["std"], exact.std(0), rtol=1e-9)
    data = standardize({"x": x, "label": np.arange(50)}, statistics)
    assert data["x"].dtype == np.float32 and data["label"][7] == 7
    np.testing.assert_allclose(data["x"].mean(0, dtype=np.float64), 0, atol=1e-6)
    np.testing.assert_allclose(data["x"].std(0, dtype=np.float64), 1, rtol=1e-6)
    other = standardize({"x": x[:7] + 1}, statistics)["x"]  # by the same statistics
    np.testing.assert_allclose(other, ((x[:7] + 1) - exact.mean(0)) / exact.std(0), rtol=1e-6)


def test_only_real_steps_of_real_rows_count():
    x = np.float32(RNG.normal(size=(20, 6, 2)))
    length, mask = RNG.integers(1, 7, 20), np.float32(np.arange(20) % 4 > 0)
    real = (np.arange(6) < length[:, None]) & (mask > 0)[:, None]
    x[~real] = 50.0
    statistics = statistics_of({"x": x, "length": length, "mask": mask})
    np.testing.assert_allclose(statistics["mean"], x[real].mean(0, dtype=np.float64), rtol=1e-12)
    np.testing.assert_allclose(statistics["std"], x[real].std(0, dtype=np.float64), rtol=1e-12)
    table = {"x": x[:, 0], "mask": mask}
    assert statistics_of(table) == statistics_of({"x": x[mask > 0][:, 0]})


@pytest.mark.parametrize("value", [0.0, 0.1, 1e6, -7.3])
def test_a_constant_column_becomes_zero(value):
    x = np.float32(np.c_[np.full(1001, value), RNG.normal(size=1001)])
    statistics = statistics_of({"x": x})
    assert statistics["std"][0] == 1.0
    np.testing.assert_allclose(standardize({"x": x}, statistics)["x"][:, 0], 0, atol=1e-9)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            {"x": np.ones((3, 4), np.float32), "length": np.int32([1, 2, 4])},
            r"x \[N, steps\] with a length is a series of one column: give it as x\[..., None\]",
        ),
        ({"x": np.zeros((4, 5), np.uint8)}, r"standardize=True: x is uint8\[4, 5\], and only"),
        ({"x": np.zeros((4, 5, 5, 1))}, r"x is float32\[4, 5, 5, 1\], and only tables"),
        ({"x": np.zeros((4, 5)), "mask": np.zeros(4)}, "the mask excludes every row"),
    ],
)
def test_what_has_no_columns(data, message):
    with pytest.raises(ValueError, match=message):
        statistics_of(data)


def test_other_columns_are_refused():
    statistics = statistics_of({"x": np.ones((4, 5))})
    for x in (np.ones((4, 6)), np.ones((4, 5), np.uint8)):
        with pytest.raises(ValueError, match="the model was trained on 5 columns of floats"):
            standardize({"x": x}, statistics)
