"""Tables in text: what is read, and what is refused in one line."""

import numpy as np
import pytest

from ae_jax.data import load


def write(path, text):
    file = path / "series.csv"
    file.write_text(text, encoding="utf-8")
    return str(file)


def every(file):
    """Both splits together, by their first value."""
    parts = [load(file, split) for split in ("train", "test")]
    whole = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
    order = np.argsort(whole["x"][:, 0])
    return {key: column[order] for key, column in whole.items()}


def test_rows_are_examples(tmp_path):
    table = np.arange(30.0).reshape(10, 3) / 7
    text = "\n".join(",".join(map(str, row)) for row in table)
    found = every(write(tmp_path, text + "\n\n"))
    assert found.keys() == {"x"}
    np.testing.assert_array_equal(found["x"], np.float32(table))
    assert len(load(str(tmp_path / "series.csv"), "test")["x"]) == 2


@pytest.mark.parametrize("header", ["0,1,2\n", ""])
def test_a_first_row_of_numbers_is_an_example(tmp_path, header):
    rows = "\n".join("7,8,9" for _ in range(9))
    found = every(write(tmp_path, header + rows))
    assert len(found["x"]) == (10 if header else 9)


@pytest.mark.parametrize("header", ["label,0,1", "\ufeffLabel,a,b", "0, label ,1"])
def test_a_label_is_found_among_any_names(tmp_path, header):
    at = header.lower().split(",").index(next(n for n in header.lower().split(",") if "label" in n))
    table = np.arange(30).reshape(10, 3)
    text = "\n".join([header, *(",".join(map(str, row)) for row in table)])
    found = every(write(tmp_path, text))
    np.testing.assert_array_equal(found["label"], table[:, at])
    np.testing.assert_array_equal(found["x"], np.delete(table, at, axis=1))


def test_a_header_may_name_labels(tmp_path):
    rows = "\n".join(f"{i}, {i % 3}, 1e{i}" for i in range(10))
    found = every(write(tmp_path, f"a, label ,b\n{rows}"))
    np.testing.assert_array_equal(found["label"], np.arange(10) % 3)
    np.testing.assert_allclose(found["x"], [[i, 10.0**i] for i in range(10)], rtol=1e-6)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "it has no rows of numbers"),
        ("a,b\n", "it has no rows of numbers"),
        ("1,2\n3\n", "line 2 has 1 values, not 2"),
        ("1,2\n\n3,x\n", "line 3: could not convert string to float: 'x'"),
        ("a,label\n1,0.5\n", "the column 'label' must contain integers"),
        ("a,label\n1,nan\n", "the column 'label' must contain integers"),
        ("1,2\n3,nan\n5,6\n", "values of x are NaN"),
    ],
)
def test_what_is_not_a_table_of_numbers(tmp_path, text, message):
    with pytest.raises(ValueError, match=message) as caught:
        load(write(tmp_path, text), "train")
    assert "series.csv" in str(caught.value) and "\n" not in str(caught.value)


def test_bytes_that_are_no_text(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"\xff\xfe1,2\n")
    with pytest.raises(ValueError, match="is not a text table"):
        load(tmp_path / "a.csv", "train")
    with pytest.raises(OSError):
        load(tmp_path / "none.csv", "train")
