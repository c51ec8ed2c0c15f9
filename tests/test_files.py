import gzip
import io
import math
import os
import tracemalloc

import pytest

from ae_jax import files
from ae_jax.files import CHUNK, append_whole, finite, read_exactly, read_json, write_whole


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK])
def test_reads_the_whole_stream(size):
    content = bytes(i % 251 for i in range(size))
    assert read_exactly(io.BytesIO(content), size) == content


@pytest.mark.parametrize(
    ("held", "declared", "message"),
    [(10, 11, "only 10"), (0, 1, "only 0"), (11, 10, "more"), (5 * CHUNK, 7, "more")],
)
def test_refuses_another_size(held, declared, message):
    with pytest.raises(ValueError, match=f"declares {declared} bytes of data, it holds {message}"):
        read_exactly(io.BytesIO(bytes(held)), declared)


def test_allocates_what_the_stream_holds_not_what_a_header_declares():
    with pytest.raises(ValueError, match="only 3"):
        read_exactly(io.BytesIO(b"abc"), 2**62)


def test_what_unpacks_to_more_than_the_memory_is_refused(monkeypatch):
    monkeypatch.setattr(files, "memory_limit", lambda: 3 * CHUNK)
    packed = gzip.compress(bytes(100 * CHUNK))
    assert len(packed) < CHUNK
    tracemalloc.start()
    with gzip.open(io.BytesIO(packed)) as stream, pytest.raises(ValueError, match="it holds more"):
        read_exactly(stream, 100 * CHUNK)
    assert tracemalloc.get_traced_memory()[1] < 8 * CHUNK
    tracemalloc.stop()


def test_refuses_a_negative_size_unread():
    stream = io.BytesIO(bytes(100))
    with pytest.raises(ValueError, match="declares -4 bytes"):
        read_exactly(stream, -4)
    assert stream.tell() == 0


def test_never_reads_far_beyond_the_declared_size():
    stream = io.BytesIO(bytes(100))
    with pytest.raises(ValueError, match="more"):
        read_exactly(stream, 10)
    assert stream.tell() == 11


def test_a_file_is_written_completely_or_stays_as_it_was(tmp_path, largest_file):
    file = tmp_path / "a.json"
    write_whole(file, '{"a": 1}')
    with pytest.raises(OSError), largest_file(10):
        write_whole(file, '{"a": ' + "1" * 100 + "}")
    assert read_json(file) == {"a": 1}
    assert list(tmp_path.iterdir()) == [file]


def test_a_line_that_does_not_fit_is_removed_again(tmp_path, largest_file):
    file = tmp_path / "rows"
    append_whole(file, "first\n")
    with pytest.raises(OSError), largest_file(10):
        append_whole(file, "second\n")
    assert file.read_text() == "first\n"
    append_whole(file, "third\n")
    assert file.read_text() == "first\nthird\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "is not JSON"),
        (b"\xff\xfe", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b"1" * 5000, "is not JSON"),  # more digits than Python converts
        (b" " * 101, "has 101 bytes, more than the limit of 100"),
    ],
)
def test_what_is_not_json_is_one_line(tmp_path, content, message):
    file = tmp_path / "a.json"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        read_json(file, limit=100 if "100" in message else 2**20)
    assert "\n" not in str(caught.value) and str(file) in str(caught.value)


def test_only_regular_files_are_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")  # to open it would wait for ever
    (tmp_path / "real").write_text("{}")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    for name in ("pipe", "link", "."):
        with pytest.raises(ValueError, match="is not a regular file"):
            read_json(tmp_path / name)


def test_json_has_no_nan():
    data = {"a": [1.5, math.nan, (math.inf, -math.inf)], "b": {"c": "nan", "d": None, "e": 3}}
    assert finite(data) == {"a": [1.5, None, [None, None]], "b": {"c": "nan", "d": None, "e": 3}}
