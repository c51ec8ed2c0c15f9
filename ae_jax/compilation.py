"""How programs are compiled, and the cache that a second start of the same experiment reads."""

import hashlib
import os
import platform
from functools import cache
from pathlib import Path

import jax

VARIABLE = "JAX_COMPILATION_CACHE_DIR"
YNNPACK = "xla_cpu_experimental_ynn_fusion_type"


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


@cache
def compiler_options() -> dict[str, str]:
    """What programs that train are compiled with: ``jax.jit(..., compiler_options=this)``.

    On a CPU, products and sums go to YNNPACK, as by default, but convolutions do not: XLA's own
    are 1.3 to 2 times as fast for them (3x3 kernels, 64 -> 128 channels at 14x14 and 256 -> 128 at
    7x7, forward and backward, jax 0.10 and 0.12). Empty elsewhere, where XLA_FLAGS chooses, and
    where XLA has no such option.
    """
    if jax.default_backend() != "cpu" or YNNPACK in os.environ.get("XLA_FLAGS", ""):
        return {}
    kinds = ("INDIVIDUAL_DOT", "REDUCE")
    options = {YNNPACK: ",".join(f"LIBRARY_FUSION_TYPE_{kind}" for kind in kinds)}
    try:
        jax.jit(lambda: 0, compiler_options=options).lower().compile()
    except jax.errors.JaxRuntimeError:  # an experimental option: other versions may have another
        return {}
    return options
