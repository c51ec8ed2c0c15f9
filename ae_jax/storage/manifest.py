"""Manifests: the SHA-256 of every file in a folder, checked before the folder is read.

    FOLDER/manifest.json   {"sha256": of the manifest, "manifest": {"format", "files", ...facts}}

A manifest detects damage, not forgery: anyone who can change the files can also write a new
manifest.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ae_jax.files import CHUNK, read_json, require_regular, write_whole

NAME = "manifest.json"
FORMAT = 1


class DamagedError(ValueError):
    """A file is missing, unexpected, or different from the file that was written."""


def write_manifest(folder: Path, facts: Mapping[str, Any]) -> None:
    """Write a manifest of all files under `folder`, with `facts` as further JSON entries."""
    files = {
        name: {"bytes": (folder / name).stat().st_size, "sha256": _digest(folder / name)}
        for name in sorted(_files(folder) - {NAME})
    }
    manifest = {**facts, "format": FORMAT, "files": files}
    content = {"sha256": _digest_json(manifest), "manifest": manifest}
    write_whole(folder / NAME, json.dumps(content) + "\n")


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return the manifest of `folder`, without comparing it with the files.

    Raises `DamagedError` if the manifest is missing or has changed, `ValueError` if it has another
    format version, and `OSError` if it cannot be read.
    """
    try:
        content = read_json(folder / NAME)
        manifest = content["manifest"]
        if content["sha256"] != _digest_json(manifest):
            raise ValueError(f"{folder / NAME} has changed since it was written")
    except FileNotFoundError:
        raise DamagedError(f"{folder / NAME} is missing") from None
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedError(f"{folder / NAME} is damaged: {error}") from None
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        version = manifest.get("format") if isinstance(manifest, dict) else None
        raise ValueError(
            f"{folder} has format {version!r}, and this version of ae_jax reads {FORMAT}: "
            "read it with the version that wrote it"
        )
    return manifest


def verify(folder: Path) -> dict[str, Any]:
    """Return the manifest of `folder` if no file is missing, changed or unexpected.

    Raises the errors of `read_manifest`, and `DamagedError` with the first file that differs.
    """
    manifest = read_manifest(folder)
    try:
        expected = {str(name): dict(entry) for name, entry in manifest["files"].items()}
    except (KeyError, AttributeError, TypeError, ValueError) as error:
        raise DamagedError(f"{folder / NAME} lists no files: {error!r}") from None
    try:
        names = _files(folder) - {NAME}
        for name in sorted(expected.keys() ^ names):
            problem = "is missing" if name in expected else f"is not in {NAME}"
            raise DamagedError(f"{folder / name} {problem}")
        for name in sorted(names):  # sizes first, because digests read every byte
            size, written = require_regular(folder / name), expected[name].get("bytes")
            if size != written:
                raise DamagedError(f"{folder / name} has {size} bytes, but {written} were written")
        for name in sorted(names):
            if _digest(folder / name) != expected[name].get("sha256"):
                raise DamagedError(f"{folder / name} has changed since it was written")
    except FileNotFoundError as error:
        raise DamagedError(f"{error.filename} is missing") from None
    except DamagedError:
        raise
    except ValueError as error:  # not a regular file
        raise DamagedError(str(error)) from None
    return manifest


def _files(folder: Path) -> set[str]:
    """Return the relative paths of all files and links under `folder`, separated by slashes."""
    names = set()
    for path in folder.rglob("*"):
        if path.is_symlink() or not path.is_dir():
            names.add(path.relative_to(folder).as_posix())
    return names


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    require_regular(path)
    with open(path, "rb") as file:
        while block := file.read(CHUNK):
            digest.update(block)
    return digest.hexdigest()


def _digest_json(data: Any) -> str:
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()
