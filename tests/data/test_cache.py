from pathlib import Path

import numpy as np
import pytest

from ae_jax.data import cache

ARRAYS = {"x": np.arange(24, dtype=np.uint8).reshape(2, 3, 4), "label": np.arange(2)}


def test_fetch_gives_back_what_was_stored():
    assert cache.fetch("a") is None
    cache.store("a", ARRAYS)
    fetched = cache.fetch("a")
    assert fetched is not None
    for key, array in ARRAYS.items():
        np.testing.assert_array_equal(fetched[key], array)
        assert fetched[key].dtype == array.dtype
    assert [path.name for path in cache.cache_dir().iterdir()] == ["a.npz"]


def test_a_damaged_entry_counts_as_none_and_is_replaced():
    cache.store("a", ARRAYS)
    path = cache.cache_dir() / "a.npz"
    damaged = bytearray(path.read_bytes())
    damaged[damaged.index(ARRAYS["x"].tobytes()) + 5] ^= 1
    for content in (damaged, damaged[:100], b""):
        path.write_bytes(content)
        assert cache.fetch("a") is None
        cache.store("a", ARRAYS)
        assert cache.fetch("a") is not None


def test_where_it_cannot_write_it_does_nothing(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("AE_JAX_CACHE", str(tmp_path / "file" / "cache"))
    cache.store("a", ARRAYS)
    assert cache.fetch("a") is None


def test_a_failed_write_leaves_nothing_behind():
    cache.cache_dir().mkdir(parents=True)
    (cache.cache_dir() / "a.npz").mkdir()  # so that the last step, replacing, fails
    cache.store("a", ARRAYS)
    assert [path.name for path in cache.cache_dir().iterdir()] == ["a.npz"]


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
