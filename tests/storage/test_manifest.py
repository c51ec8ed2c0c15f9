"""Manifests find whatever happens to a folder."""

import hashlib
import json
import os

import pytest

from ae_jax.storage.manifest import DamagedError, read_manifest, verify, write_manifest


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "folder"
    (path / "inner").mkdir(parents=True)
    (path / "a").write_bytes(b"content")
    (path / "inner" / "b").write_bytes(bytes(range(256)) * 5000)
    (path / "empty").write_bytes(b"")
    write_manifest(path, {"step": 3, "notes": {"loss": 0.1}})
    return path


def rewrite(folder, **changes):
    """A manifest with these changes, and a digest that is right."""
    manifest = json.loads((folder / "manifest.json").read_text())["manifest"] | changes
    digest = hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()
    (folder / "manifest.json").write_text(json.dumps({"sha256": digest, "manifest": manifest}))


def test_a_whole_folder(folder):
    manifest = verify(folder)
    assert manifest["step"] == 3 and manifest["notes"] == {"loss": 0.1}
    assert set(manifest["files"]) == {"a", "inner/b", "empty"}
    expected = hashlib.sha256(b"content").hexdigest()
    assert manifest["files"]["a"] == {"bytes": 7, "sha256": expected}


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: flip(f / "a"), "folder/a has changed"),
        (lambda f: flip(f / "inner" / "b"), "inner/b has changed"),
        (lambda f: (f / "a").write_bytes(b"conten"), "has 6 bytes, but 7 were written"),
        (lambda f: (f / "a").unlink(), "folder/a is missing"),
        (lambda f: (f / "c").write_bytes(b""), "folder/c is not in manifest.json"),
        (lambda f: (f / "a").rename(f / "inner" / "a"), "a is missing"),
        (lambda f: (f / "manifest.json").unlink(), "manifest.json is missing"),
        (lambda f: (f / "manifest.json").write_text("{}"), "manifest.json is damaged"),
        (lambda f: (f / "manifest.json").write_text("[]"), "manifest.json is damaged"),
        (lambda f: rewrite(f, files=None), "lists no files"),
        (lambda f: rewrite(f, files={"a": 3}), "lists no files"),
    ],
)
def test_damage_is_named(folder, damage, message):
    damage(folder)
    with pytest.raises(DamagedError, match=message) as caught:
        verify(folder)
    assert "\n" not in str(caught.value)


def test_a_changed_manifest_is_damage_and_a_newer_one_is_not(folder):
    text = (folder / "manifest.json").read_text()
    (folder / "manifest.json").write_text(text.replace('"format": 1', '"format": 2'))
    with pytest.raises(DamagedError, match="has changed since it was written"):
        read_manifest(folder)
    rewrite(folder, format=2)
    with pytest.raises(ValueError, match="has format 2, and this version of ae_jax reads 1") as e:
        read_manifest(folder)
    assert not isinstance(e.value, DamagedError)


def test_links_and_pipes_are_not_followed(folder, tmp_path):
    (tmp_path / "secret").write_bytes(b"content")
    (folder / "a").unlink()
    (folder / "a").symlink_to(tmp_path / "secret")
    with pytest.raises(DamagedError, match="is not a regular file"):
        verify(folder)
    (folder / "a").unlink()
    os.mkfifo(folder / "a")
    with pytest.raises(DamagedError, match="is not a regular file"):
        verify(folder)
    with pytest.raises(ValueError, match="is not a regular file"):
        write_manifest(folder, {})
