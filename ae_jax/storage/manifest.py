"""Manifests: the SHA-256 of every file in a folder, written with it and checked before it is read.

    FOLDER/manifest.json   {"sha256": of the manifest, "manifest": {"format", "files", ...facts}}

They find damage. They do not say who made the files: whoever can write those can write a manifest.
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
    """Files are not what was written."""


def write_manifest(folder: Path, facts: Mapping[str, Any]) -> None:
    """Describe all files under `folder` as they are now; `facts` are kept, as JSON, beside them."""
    files = {
        name: {"bytes": (folder / name).stat().st_size, "sha256": _digest(folder / name)}
        for name in sorted(_files(folder) - {NAME})
    }
    manifest = {**facts, "format": FORMAT, "files": files}
    content = {"sha256": _digest_json(manifest), "manifest": manifest}
    write_whole(folder / NAME, json.dumps(content) + "\n")


def read_manifest(folder: Path) -> dict[str, Any]:
    """The facts and files of `folder`, which it is not compared with.

    Raises `DamagedError` for a manifest that is not what was written, `ValueError` for one of a
    newer format, and `OSError` where it cannot be read.
    """
    try:
        content = read_json(folder / NAME)
        manifest = content["manifest"]
        if content["sha256"] != _digest_json(manifest):
            raise ValueError(f"{folder / NAME} is not what was written")
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
    """`read_manifest`, and every file compared: none is missing, changed or added.

    Raises as `read_manifest` does, and `DamagedError` naming the file that differs.
    """
    manifest = read_manifest(folder)
    try:
        expected = {str(name): dict(entry) for name, entry in manifest["files"].items()}
    except (KeyError, AttributeError, TypeError, ValueError) as error:
        raise DamagedError(f"{folder / NAME} lists no files: {error!r}") from None
    try:
        names = _files(folder) - {NAME}
        for name in sorted(expected.keys() ^ names):
            what = "is missing" if name in expected else "does not belong to it"
            raise DamagedError(f"{folder / name} {what}")
        for name in sorted(names):  # sizes of all of them first, which cost nothing
            size, wanted = require_regular(folder / name), expected[name].get("bytes")
            if size != wanted:
                raise DamagedError(f"{folder / name} holds {size} bytes, {wanted} were written")
        for name in sorted(names):
            if _digest(folder / name) != expected[name].get("sha256"):
                raise DamagedError(f"{folder / name} has changed since it was written")
    except FileNotFoundError as error:
        raise DamagedError(f"{error.filename} is missing") from None
    except DamagedError:
        raise
    except ValueError as error:  # of what is not a regular file
        raise DamagedError(str(error)) from None
    return manifest


def _files(folder: Path) -> set[str]:
    """Names of everything under `folder` but its folders, with slashes; links are not followed."""
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
