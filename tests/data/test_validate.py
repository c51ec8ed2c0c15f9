import jax.numpy as jnp
import numpy as np
import pytest

from ae_jax.data import validated

IMAGES = np.zeros((6, 4, 4, 1), np.uint8)
FLOATS = np.linspace(0, 1, 18, dtype=np.float32).reshape(6, 3)


def test_bare_array_becomes_x_without_a_copy():
    for x in (IMAGES, FLOATS):
        data = validated(x)
        assert list(data) == ["x"]
        assert np.shares_memory(data["x"], x)


@pytest.mark.parametrize("dtype", [np.float16, np.float64, np.longdouble, jnp.bfloat16, bool])
def test_other_floats_and_bool_become_float32(dtype):
    x = np.asarray([[0, 1], [1, 0]], dtype)
    data = validated(x)
    assert data["x"].dtype == np.float32
    np.testing.assert_array_equal(data["x"], [[0, 1], [1, 0]])


def test_jax_arrays_and_lists_are_taken():
    data = validated({"x": jnp.ones((3, 2)), "label": jnp.arange(3)})
    assert isinstance(data["x"], np.ndarray)
    assert data["label"].dtype == np.int32
    assert validated([[0.5, 1.0]])["x"].shape == (1, 2)


def test_every_key_gets_its_dtype():
    data = validated(
        {
            "x": np.ones((2, 5, 1)),
            "label": np.array([3, -1]),
            "length": [1, 5],
            "mask": [True, False],
        }
    )
    dtypes = {key: str(value.dtype) for key, value in data.items()}
    assert dtypes == {"x": "float32", "label": "int32", "length": "int32", "mask": "float32"}
    np.testing.assert_array_equal(data["label"], [3, -1])
    np.testing.assert_array_equal(data["mask"], [1, 0])


def test_absent_label_given_as_none_is_left_out():
    assert list(validated({"x": FLOATS, "label": None})) == ["x"]


def nan_at(index, value=np.nan):
    x = FLOATS.astype(np.float64)
    x[index] = value
    return x


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (nan_at((2, 1)), ValueError, r"^1 of the 18 values of x are NaN.*first at \[2, 1\]"),
        (nan_at((slice(3, 5), 0), np.inf), ValueError, r"^2 of the 18 values.*first at \[3, 0\]"),
        (nan_at((0, 0), 1e300), ValueError, r"too large for float32, the first at \[0, 0\]"),
        (np.ones(5), ValueError, r"x has shape \[5\]: needs \[N, ...event\]"),
        (np.float32(1), ValueError, r"x has shape \[\]"),
        (np.ones((0, 3)), ValueError, r"shape \[0, 3\], an empty data set"),
        (np.ones((3, 0)), ValueError, r"shape \[3, 0\], an empty data set"),
        (IMAGES.astype(np.int64), TypeError, r"x has dtype int64: use x.astype\(np.uint8\)"),
        (np.ones((2, 2), complex), TypeError, "x has dtype complex128"),
        (np.array([["a"]]), TypeError, "x has dtype <U1"),
        (np.array([[None]]), TypeError, "x has dtype object"),
        (np.zeros((2, 2), [("a", "f4")]), TypeError, "x has dtype"),
        ([[1.0], [1.0, 2.0]], TypeError, "x is not a rectangular array"),
        ("mnist", TypeError, r"load it first with ae_jax.data.load\('mnist', 'train'\)"),
        ({"x": FLOATS, "step": [1]}, ValueError, "data has the key 'step': rename it"),
        ({"label": [1]}, ValueError, r"data has no 'x', only \['label'\]"),
    ],
)
def test_bad_x_is_refused_in_one_line(data, error, message):
    with pytest.raises(error, match=message) as caught:
        validated(data)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value", "error", "message"),
    [
        ("label", np.zeros(5, int), ValueError, "label has 5 entries but x has 6"),
        ("label", np.zeros((6, 1), int), ValueError, r"label has shape \[6, 1\]"),
        ("label", np.zeros(6), TypeError, r"label has dtype float64: use label.astype\(np.int32\)"),
        ("label", np.array(["a"] * 6), TypeError, "label has dtype <U1"),
        ("label", np.full(6, 2**40), ValueError, r"label\[0\] is 1099511627776"),
        ("length", [1, 2, 3, 4, 1, 1], ValueError, r"length\[3\] is 4: must lie in \[1, 3\]"),
        ("length", [1, 2, 0, 3, 1, 1], ValueError, r"length\[2\] is 0"),
        ("mask", [0, 1, 2, 1, 1, 1], ValueError, r"mask\[2\] is 2.0: must lie in \[0, 1\]"),
        ("mask", [0, 1, np.nan, 1, 1, 1], ValueError, r"mask\[2\] is nan"),
    ],
)
def test_bad_columns_are_refused_in_one_line(key, value, error, message):
    with pytest.raises(error, match=message) as caught:
        validated({"x": FLOATS, key: value})
    assert "\n" not in str(caught.value)


def test_values_outside_the_support_are_refused():
    """uint8 stands for [0, 1], in steps of 1 / 255."""
    assert validated(FLOATS, support="unit_interval")["x"] is FLOATS
    assert validated(IMAGES + 255, support="unit_interval")["x"].max() == 255
    outside = FLOATS * 5.8 - 3.1
    message = r"x has values in \[-3.1, 2.7000003\], and the loss needs \[0, 1\]: rescale"
    with pytest.raises(ValueError, match=message):
        validated(outside, support="unit_interval")
    assert validated(outside)["x"].min() < 0


def test_8_bit_likelihoods_need_8_bit_data():
    levels = np.arange(256, dtype=np.float32).reshape(64, 4) / 255
    assert validated(levels, support="bytes")["x"] is levels
    assert validated(IMAGES + 255, support="bytes")["x"].max() == 255
    levels[5, 1] += 0.3 / 255
    for wrong, value in (
        (levels, r"the value 0.0835"),
        (255 * levels, r"values in \[0.0, 255.0\]"),
    ):
        with pytest.raises(ValueError, match=f"x has {value}.*, and the likelihood needs 8-bit"):
            validated(wrong, support="bytes")


@pytest.mark.parametrize("wrong", [0.5, -1.0, 1e3 + 0.25])
def test_counts_are_whole_numbers(wrong):
    counts = np.float32([[0, 1], [7, 2e6]])
    assert validated(counts, support="counts")["x"] is counts
    counts[1, 0] = wrong
    with pytest.raises(ValueError, match="and the likelihood needs counts 0, 1, 2, ...: give"):
        validated(counts, support="counts")


def test_pixels_are_no_counts():
    with pytest.raises(TypeError, match="uint8.*needs counts: use x.astype"):
        validated(IMAGES, support="counts")


def test_padding_may_leave_the_unit_interval():
    x, steps, rows = np.full((3, 4, 2), 0.5, np.float32), np.int32([4, 2, 4]), np.int32([1, 1, 0])
    x[1, 2:], x[2] = 50, -1
    assert validated({"x": x, "length": steps, "mask": rows}, support="unit_interval")["x"] is x
    for column in ({"length": steps}, {"mask": rows}):
        with pytest.raises(ValueError, match=r"the loss needs \[0, 1\]"):
            validated({"x": x, **column}, support="unit_interval")
    with pytest.raises(ValueError, match="mask excludes all 3 rows"):
        validated({"x": x, "mask": 0 * rows}, support="unit_interval")
