"""Decoded splits, kept so that a second load takes milliseconds.

An entry is an uncompressed .npz, so one file is written in one piece and its checksums tell a
damaged entry from a good one. Everything in the folder can be deleted at any time.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ae_jax.data.npz import read_npz


def cache_dir() -> Path:
    """$AE_JAX_CACHE, else $XDG_CACHE_HOME/ae_jax, else ~/.cache/ae_jax."""
    if folder := os.environ.get("AE_JAX_CACHE"):
        return Path(folder).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "ae_jax"


def fetch(entry: str) -> dict[str, np.ndarray] | None:
    """The arrays of an entry; None if it is not there or not whole."""
    try:
        return read_npz(cache_dir() / f"{entry}.npz")
    except (OSError, ValueError):
        return None


def store(entry: str, arrays: Mapping[str, Any]) -> None:
    """Keeps arrays under a name, whole or not at all; does nothing where it cannot write."""
    folder = cache_dir()
    temporary = ""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(".tmp", f"{entry}-", folder)
        with os.fdopen(handle, "wb") as file:
            np.savez(file, **arrays)
        os.replace(temporary, folder / f"{entry}.npz")
    except OSError:
        if temporary:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
