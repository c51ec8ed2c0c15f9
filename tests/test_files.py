import io

import pytest

from ae_jax.files import CHUNK, read_exactly


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
