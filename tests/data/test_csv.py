"""Tables in text: what is read, and what is refused in one line."""

import gzip

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


@pytest.mark.parametrize("first", ["0,1,2.0\n", "2,1,0\n", ""])
def test_a_first_row_of_numbers_is_an_example(tmp_path, first):
    rows = "\n".join("7,8,9" for _ in range(9))
    data = every(write(tmp_path, first + rows))
    assert len(data["x"]) == (10 if first else 9)


TABLE = np.arange(60.0).reshape(20, 3) / 8 + 0.5


def text_of(table, separator=",", decimal=".", header=None):
    lines = [separator.join(f"{v:.4f}".replace(".", decimal) for v in row) for row in table]
    return "\n".join([*(header or []), *lines])


@pytest.mark.parametrize(
    ("name", "separator", "decimal"),
    [
        ("a.csv", ",", "."),
        ("a.csv", ";", "."),
        ("a.csv", ";", ","),
        ("a.tsv", "\t", "."),
        ("a.csv", "\t", ","),
        ("A.CSV", ",", "."),
        ("a.csv.gz", ",", "."),
        ("a.TSV.gz", "\t", "."),
    ],
)
@pytest.mark.parametrize("header", [None, "a b c", "0 1 label"])
def test_separators_decimal_commas_and_gzip(tmp_path, name, separator, decimal, header):
    names = [header.replace(" ", separator)] if header else []
    table = np.arange(60.0).reshape(20, 3) if header == "0 1 label" else TABLE
    text = text_of(table, separator, decimal, names)
    (tmp_path / name).write_bytes(
        gzip.compress(text.encode()) if name.endswith("gz") else text.encode()
    )
    data = every(str(tmp_path / name))
    np.testing.assert_array_equal(data["x"], table[:, : data["x"].shape[1]])
    assert ("label" in data) == (header == "0 1 label")


def test_a_quoted_semicolon_is_no_separator(tmp_path):
    data = every(write(tmp_path, text_of(TABLE, header=['"a;b",c,d'])))
    np.testing.assert_array_equal(data["x"], TABLE)


@pytest.mark.parametrize("header", [",a,b,c", ",0,1,2", '"",a,b,c', "Unnamed: 0,a,b,c"])
def test_an_index_is_no_feature(tmp_path, header):
    """As pandas and R write it."""
    rows = [f"{40 - i}," + line for i, line in enumerate(text_of(TABLE).split("\n"))]
    data = every(write(tmp_path, "\n".join([header, *rows])))
    np.testing.assert_array_equal(data["x"], TABLE)


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
        ("1,2\n3\n", r"line 2 has 1 cells, not 2 \(separator: comma"),
        ("1;2\n3,4\n", r"line 2 has 1 cells, not 2 \(separator: semicolon"),
        ("1,2\n\n3,x\n", r"line 3, column 2 is 'x': must be a finite number \(separator: comma"),
        ("a;b\n1;2\n3;x\n", r"line 3, column 2 \(b\) is 'x': .*semicolon"),
        ("a,b\n1,inf\n", r"line 2, column 2 \(b\) is 'inf': must be a finite"),
        ("a,b\n1,\n", r"line 2, column 2 \(b\) is missing \(''\): fill it, or remove the row"),
        ("1,2\n3,NaN\n5,6\n", r"line 2, column 2 is missing \('NaN'\): .*comma"),
        ("1,,3\n1,2,3\n", "line 1, column 2 is missing"),
        ("1 2\n3 4\n", r"line 2, column 1 \(1 2\) is '3 4': must .*separator: comma"),
        ('1,2\n"3,5",4\n', r"line 2, column 1 is '3,5': must be .* no comma between thousands"),
        ("1,5;2\n3.5;4\n", "line 1 has a decimal comma and line 2 a decimal point .*semicolon"),
        (
            "1,5;2\n1.234,5;2\n",
            "line 2, column 1 is '1.234,5': must be a finite number, with no comma between",
        ),
        ("a\tb\n1,234\t5\n", r"column 1 \(a\) is '1,234': .* no comma .*separator: tab"),
        ("0,1,2\n7,8,9\n", r"line 1 counts 0, 1, \.\.\.: a header or an example\? Name the"),
        ("1990,1991,1992,1993\n7,8,9,7\n", "line 1 counts 1990, 1991, "),
        ("id,0,1\n7,8,9\n", "line 1 has the text 'id' and the number '0': name every column"),
        (",a\n1,2\n1,3\n", "column 1 has no name and is not an index: name it"),
        ("a,,b\n1,2,3\n", "a column beside a, b has no name: name it"),
        ("label,a,Label\n1,2,3\n", "2 columns are called 'label': rename all but one"),
        ("a,label\n1,0.5\n", "the column 'label' must contain integers"),
        ("a,label\n1,nan\n", r"line 2, column 2 \(label\) is missing"),
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
    whole = gzip.compress(text_of(np.random.default_rng(0).normal(size=(50, 3))).encode())
    for damaged in (whole[:-20], whole[:40] + b"???" + whole[43:], b"1,2\n"):
        (tmp_path / "a.csv.gz").write_bytes(damaged)
        with pytest.raises(ValueError, match=r"a\.csv\.gz is not a complete \.gz file"):
            load(tmp_path / "a.csv.gz", "train")
