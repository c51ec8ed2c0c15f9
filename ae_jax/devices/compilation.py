"""How programs are compiled, the cache that a second start of the same experiment reads, and the
memory that compiling leaves."""

import ctypes
import hashlib
import os
import platform
import re
import sys
from functools import cache, partial
from pathlib import Path

import jax
import jax.numpy as jnp
from jax import lax
from jax.stages import Compiled, Lowered

from ae_jax.devices.names import cpu_flags

VARIABLE = "JAX_COMPILATION_CACHE_DIR"
YNNPACK = "xla_cpu_experimental_ynn_fusion_type"
VECTORS = "xla_cpu_prefer_vector_width"
ONEDNN = "xla_cpu_experimental_onednn_custom_call"


def compilation_cache_dir() -> str:
    """JAX_COMPILATION_CACHE_DIR (which may be a bucket, gs://...), else in ~/.cache/ae_jax.

    A program for one CPU may not run on another, so each kind of CPU has a folder.
    """
    if VARIABLE in os.environ:
        return os.environ[VARIABLE]
    kind = cpu_flags() or platform.node()  # not Linux: the machine's name must do
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


def release_freed_memory() -> None:
    """Give the system back what this process has freed, where glibc kept it.

    Compiling frees a lot in pieces: after 784-32-784 was trained, about 70 MB.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)


def compile_program(lowered: Lowered) -> Compiled:
    """``lowered.compile()`` with `compiler_options`, those for its own convolutions included."""
    if jax.default_backend() != "cpu":
        return lowered.compile()
    half = bool(re.search(r"stablehlo\.convolution.*bf16", lowered.as_text()))
    return lowered.compile(compiler_options=compiler_options(half_convolutions=half))


def compiler_options(*, half_convolutions: bool = False) -> dict[str, str | bool]:
    """What programs that train are compiled with: ``jax.jit(..., compiler_options=this)``.

    On a CPU, products and sums go to YNNPACK, as by default, but convolutions do not: XLA's own
    are 1.3 to 2 times as fast for them (3x3 kernels, 64 -> 128 channels at 14x14 and 256 -> 128 at
    7x7, forward and backward, jax 0.10 and 0.12). Loops use vectors of 512 bits where the CPU has
    them, instead of 256 (a step of 784-32-784 takes 0.95 to 1.0 of the time, of an LSTM 0.94 to
    0.98). Empty elsewhere, without what XLA_FLAGS chooses and what XLA does not know.

    With `half_convolutions`, for programs that convolve in bfloat16, those go to oneDNN where XLA
    has it and the CPU such products (AMX or AVX-512 BF16): a 3x3 kernel, 64 -> 128 channels at
    14x14, a batch of 128, takes 1.4 ms instead of 13 with AMX (jax 0.12; 0.10 has it not). It also
    takes products from YNNPACK, which is faster at those in bfloat16: a dense net is better off
    without.
    """
    if jax.default_backend() != "cpu":
        return {}
    kinds = ("INDIVIDUAL_DOT", "REDUCE")
    kept = ",".join(f"LIBRARY_FUSION_TYPE_{kind}" for kind in kinds)
    wanted: dict[str, str | bool] = {YNNPACK: kept, VECTORS: "512"}
    if half_convolutions and _onednn_convolves():
        wanted[ONEDNN] = True
    given = os.environ.get("XLA_FLAGS", "")
    return {name: v for name, v in wanted.items() if name not in given and _is_known(name, v)}


@cache
def _is_known(name: str, value: str | bool) -> bool:
    """Whether XLA has the option: they are experimental, and other versions may have others."""
    try:
        jax.jit(lambda: 0, compiler_options={name: value}).lower().compile()
    except jax.errors.JaxRuntimeError:
        return False
    return True


@cache
def _onednn_convolves() -> bool:
    if not _is_known(ONEDNN, True):
        return False
    conv = partial(
        lax.conv_general_dilated,
        window_strides=(1, 1),
        padding="SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    x, kernel = jnp.ones((2, 8, 8, 16), jnp.bfloat16), jnp.ones((3, 3, 16, 16), jnp.bfloat16)
    program = jax.jit(conv, compiler_options={ONEDNN: True}).lower(x, kernel).compile()
    return "__onednn$convolution" in (program.as_text() or "")
