"""Rows that are computed: what they may be, how the host reads them, and the order of an epoch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ae_jax.data import validated
from ae_jax.data.fingerprint import changes, fingerprint
from ae_jax.data.generated import READ, Generated
from ae_jax.data.memory import consecutive, row_of, sequential_order, take
from ae_jax.devices.memory import data_bytes
from ae_jax.training.checks import checked_data

TABLE = np.arange(12, dtype=np.float32).reshape(4, 3)


def rows_of(table, rows):
    return {"x": table[rows % 4] + rows[:, None].astype(jnp.float32), "label": rows % 4}


def make(length=10, fn=rows_of, **fields):
    return Generated(fn, length, **{"arrays": TABLE, "identity": {"table": 1}, **fields})


def test_it_is_a_mapping_of_columns_with_shapes():
    data = make()
    assert set(data) == {"x", "label"} and "y" not in data and len(data["x"]) == 10
    assert data["x"].shape == (10, 3) and data["x"].ndim == 2 and data["x"].dtype == np.float32
    assert data["label"].shape == (10,) and data["label"].dtype == np.int32
    assert data_bytes(data) == TABLE.nbytes
    with pytest.raises(TypeError, match="generated where it is used.*data.read"):
        validated(data)
    assert validated(data, generated=True) is data


@pytest.mark.parametrize("count", [0, 1, 3, READ, READ + 5])
def test_the_host_reads_rows(count):
    data = make(length=3)
    rows = np.random.default_rng(0).integers(0, 1000, count)
    got = data.read(rows)
    np.testing.assert_array_equal(got["x"], TABLE[rows % 4] + rows[:, None])
    np.testing.assert_array_equal(got["label"], rows % 4)
    np.testing.assert_array_equal(data["x"][1:3], data.read([1, 2])["x"])
    np.testing.assert_array_equal(data["label"][rows], rows % 4)


def test_a_batch_of_it_is_that_of_its_rows_as_an_array():
    data = make()
    order = jnp.array([3, 9, 0, -1, -4], jnp.int32)
    batch = jax.jit(lambda data: take(data, order, padded=True))(data)
    want = take(data.read(np.arange(10)), order, padded=True)
    assert batch.keys() == want.keys()
    jax.tree.map(np.testing.assert_array_equal, dict(batch), dict(want))


def test_arrays_are_arguments_of_the_program():
    text = jax.jit(lambda data: data.at(jnp.arange(2))).lower(make()).as_text()
    assert "tensor<4x3xf32>" in text.split("->")[0]


@pytest.mark.parametrize(
    ("count", "size", "multiple"), [(10, 4, 1), (8, 4, 3), (5, 5, 2), (1, 1, 1)]
)
def test_rows_in_turn_are_the_sequential_order(count, size, multiple):
    steps = -(-count // size)
    want = np.asarray(sequential_order(count=count, batch_size=size, multiple=multiple))
    for epoch in (0, 2):
        order = jax.jit(lambda e: consecutive(e, count=count, batch_size=size, multiple=multiple))(
            epoch
        )
        got = np.stack([order[i] for i in range(steps)])
        np.testing.assert_array_equal(got >= 0, want >= 0)
        np.testing.assert_array_equal(got[got >= 0], want[want >= 0] + epoch * count)
        assert row_of(got).min() >= epoch * count and row_of(got).max() < (epoch + 1) * count


def test_the_longest_epoch_and_the_end_of_the_numbers():
    count, size = 2**31 - 1, 1000
    order = consecutive(0, count=count, batch_size=size, multiple=16)
    last = np.asarray(order[-(-count // size) - 1])
    real = last[last >= 0]
    np.testing.assert_array_equal(real, np.arange(count // size * size, count))
    assert row_of(last).min() >= 0
    later = np.asarray(consecutive(1, count=count, batch_size=size)[0])
    np.testing.assert_array_equal(later, [count, *range(size - 1)])  # modulo 2^31


def test_the_fingerprint_is_that_of_the_identity():
    def of(**fields):
        return {"train": fingerprint(make(**fields))}

    assert of()["train"]["x"].startswith("float32[10, 3] rule ")
    assert of() == of()
    assert changes(of(), of(length=11)) == ["train has 11 rows instead of 10"]
    for other in (of(identity={"table": 2}), of(fresh=True)):
        assert changes(of(), other)[:1] == ["train 'x' has other values"]
    assert of(fn=lambda t, r: rows_of(t, r)) == of()


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"length": 0}, ValueError, r"length=0: must be an integer in \[1, 2\*\*31 - 1\]"),
        ({"length": 2**31}, ValueError, "length=2147483648"),
        ({"length": 2.0}, ValueError, "length=2.0"),
        ({"fn": 3}, ValueError, "fn=3: must be a function"),
        ({"arrays": 0.5}, TypeError, r"arrays: 0.5 is no array: use np.asarray\(0.5\)"),
        ({"identity": {1, 2}}, TypeError, "identity: must be JSON-ready data"),
        ({"fn": lambda a, r: r}, ValueError, "fn: must return a mapping with 'x'"),
        ({"fn": lambda a, r: {"y": r}}, ValueError, "fn: must return a mapping with 'x'"),
        ({"fn": lambda a, r: {"x": r * 1.0}}, ValueError, r"fn: x has shape \[1\] for one row"),
        ({"fn": lambda a, r: {"x": a}}, ValueError, r"fn: x has shape \[4, 3\] for one row"),
        ({"fn": lambda a, r: {"x": r[:, None]}}, TypeError, "fn: x has dtype int32: use one of"),
    ],
)
def test_what_cannot_work_is_one_line(fields, error, message):
    with pytest.raises(error, match=message) as caught:
        make(**fields)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([-1], r"rows: -1 .. -1: must lie in \[0, 2\*\*31\)"),
        ([0, 2**31], "rows: 0 .. 2147483648"),
        ([0.5], r"rows: float64\[1\]: needs integers"),
        ([[1]], r"rows: int64\[1, 1\]: needs integers"),
    ],
)
def test_rows_that_do_not_exist(rows, message):
    with pytest.raises(ValueError, match=message):
        make().read(rows)


class Model:
    """What `checked_data` asks of an autoencoder."""

    support, columns, reads, check, event_shape = "real", {}, (), None, (3,)


def test_the_first_rows_are_checked():
    assert checked_data(Model, make(), "eval_data")["x"].shape == (10, 3)
    nan = make(fn=lambda t, r: {"x": jnp.where(r[:, None] == 7, jnp.nan, t[r % 4])})
    with pytest.raises(ValueError, match=r"train: 3 of the 30 values of x are NaN.*\[7, 0\]"):
        checked_data(Model, nan, "train")
    reserved = make(fn=lambda t, r: {"x": t[r % 4], "step": r})
    with pytest.raises(ValueError, match="train: data has the key 'step': rename it"):
        checked_data(Model, reserved, "train")
    wide = make(arrays=np.zeros((4, 2), np.float32))
    with pytest.raises(ValueError, match=r"train: x has shape \[10, 2\]; the model was built for"):
        checked_data(Model, wide, "train")
