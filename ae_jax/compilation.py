"""The cache of compiled programs, which a second start of the same experiment reads."""

import hashlib
import os
import platform
from pathlib import Path

import jax

VARIABLE = "JAX_COMPILATION_CACHE_DIR"


def compilation_cache_dir() -> str:
    """JAX_COMPILATION_CACHE_DIR (which may be a bucket, gs://...), else in ~/.cache/ae_jax.

    A program for one CPU may not run on another, so each kind of CPU has a folder.
    """
    if VARIABLE in os.environ:
        return os.environ[VARIABLE]
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        kind = next(line for line in lines if line.startswith(("flags", "Features")))
    except (OSError, StopIteration):  # not Linux: the machine's name must do
        kind = platform.node()
    digest = hashlib.sha256(kind.encode()).hexdigest()[:16]
    return str(Path("~/.cache/ae_jax").expanduser() / digest)


def use_compilation_cache() -> None:
    """Keep compiled programs in the user's cache, so that the same experiment compiles once.

    jax's own settings come first: JAX_COMPILATION_CACHE_DIR, or JAX_ENABLE_COMPILATION_CACHE=false.
    """
    if VARIABLE not in os.environ:
        jax.config.update("jax_compilation_cache_dir", compilation_cache_dir())
    if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
