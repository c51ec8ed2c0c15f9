from pathlib import Path

import numpy as np
import pytest

from ae_jax.data import cache

ARRAYS = {"x": np.arange(24, dtype=np.uint8).reshape(2, 3, 4), "label": np.arange(2)}


def chunks():
    for row in range(2):
        yield {name: array[row : row + 1] for name, array in ARRAYS.items()}


def same(arrays):
    for key, array in ARRAYS.items():
        np.testing.assert_array_equal(arrays[key], array)
        assert arrays[key].dtype == array.dtype
    return arrays.keys() == ARRAYS.keys()


def test_fetch_gives_back_what_was_stored():
    assert cache.fetch("a") is None
    assert same(cache.store("a", 2, chunks))
    fetched = cache.fetch("a")
    assert fetched is not None and same(fetched)
    assert [path.name for path in cache.cache_dir().iterdir()] == ["a"]


def test_what_is_fetched_stays_on_the_disk():
    x = cache.store("a", 2, chunks)["x"]
    assert isinstance(x.base, np.memmap) and not x.flags.writeable


@pytest.mark.parametrize("file", ["x.npy", "checksums.json"])
def test_a_damaged_entry_counts_as_none_and_is_replaced(file):
    cache.store("a", 2, chunks)
    path = cache.cache_dir() / "a" / file
    damaged = bytearray(path.read_bytes())
    damaged[-3] ^= 1
    brace = bytearray(path.read_bytes()).replace(b"}", b"(")
    for content in (damaged, brace, damaged[:-5], damaged[:10], b""):
        path.write_bytes(content)
        assert cache.fetch("a") is None
        assert same(cache.store("a", 2, chunks))
        assert cache.fetch("a") is not None
    (cache.cache_dir() / "a" / file).unlink()
    assert cache.fetch("a") is None


def test_pickled_objects_are_never_read():
    cache.store("a", 2, chunks)
    np.save(cache.cache_dir() / "a" / "x.npy", np.array([print], object), allow_pickle=True)
    assert cache.fetch("a") is None


def test_where_it_cannot_write_the_arrays_are_in_memory(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("AE_JAX_CACHE", str(tmp_path / "file" / "cache"))
    assert same(cache.store("a", 2, chunks))
    assert cache.fetch("a") is None


def test_a_failed_write_leaves_nothing_behind():
    cache.cache_dir().mkdir(parents=True)
    (cache.cache_dir() / "a").write_text("in the way, so that the last step fails")
    assert same(cache.store("a", 2, chunks))
    assert [path.name for path in cache.cache_dir().iterdir()] == ["a"]


def test_an_error_while_decoding_is_passed_on():
    def failing():
        yield from chunks()
        raise ValueError("damaged")

    with pytest.raises(ValueError, match="damaged"):
        cache.store("a", 2, failing)
    assert list(cache.cache_dir().iterdir()) == []


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"AE_JAX_CACHE": "/a", "XDG_CACHE_HOME": "/b"}, "/a"),
        ({"XDG_CACHE_HOME": "/b"}, "/b/ae_jax"),
        ({"HOME": "/c"}, "/c/.cache/ae_jax"),
    ],
)
def test_cache_dir(monkeypatch, environment, expected):
    for name in ("AE_JAX_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert cache.cache_dir() == Path(expected)
