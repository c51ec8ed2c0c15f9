"""Compiler options, the cache of compiled programs, and the memory that compiling leaves behind."""

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
    """The folder of compiled programs: JAX_COMPILATION_CACHE_DIR, else one in ~/.cache/ae_jax.

    The variable may name a bucket (gs://...). Each kind of CPU has its own folder, because a
    program for one CPU may not run on another.

    Raises `RuntimeError` for a user without a home directory.
    """
    if VARIABLE in os.environ:
        return os.environ[VARIABLE]
    kind = cpu_flags() or platform.node()  # not Linux: use the machine's name
    digest = hashlib.sha256(kind.encode()).hexdigest()[:16]
    return str(Path("~/.cache/ae_jax").expanduser() / digest)


def use_compilation_cache() -> None:
    """Keep compiled programs on disk, so that a second run of an experiment need not compile.

    jax's own variables take precedence: JAX_COMPILATION_CACHE_DIR, JAX_ENABLE_COMPILATION_CACHE.
    """
    if VARIABLE not in os.environ:
        try:
            jax.config.update("jax_compilation_cache_dir", compilation_cache_dir())
        except RuntimeError:  # no home directory: nothing is kept
            return
    if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


def release_freed_memory() -> None:
    """Return memory to the system that this process has freed and that glibc still holds.

    Compiling frees many small pieces, which glibc would keep.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)


def compile_program(lowered: Lowered) -> Compiled:
    """``lowered.compile()`` with the `compiler_options` that suit its convolutions.

    Raises `ValueError` where jax runs without compiling.
    """
    if jax.config.values["jax_disable_jit"]:
        raise ValueError(
            "JAX_DISABLE_JIT is set, but a training is one compiled program: unset it (to look "
            "inside a step, call that of make_train_step by itself)"
        )
    if jax.default_backend() != "cpu":
        return lowered.compile()
    half = bool(re.search(r"stablehlo\.convolution.*bf16", lowered.as_text()))
    return lowered.compile(compiler_options=compiler_options(half_convolutions=half))


def compiler_options(*, half_convolutions: bool = False) -> dict[str, str | bool]:
    """Options for programs that train: ``jax.jit(fn, compiler_options=compiler_options())``.

    On a CPU, YNNPACK computes matrix products and sums, which is XLA's default, but not
    convolutions: XLA's own are faster. Loops use vectors of 512 bits if the CPU has them. On other
    devices there are no options. Options that XLA_FLAGS sets, or that this XLA does not know, are
    omitted.

    Args:
      half_convolutions: for programs with convolutions in bfloat16. OneDNN then computes them, if
        XLA includes it and the CPU multiplies in bfloat16 (AMX or AVX-512 BF16). OneDNN also
        computes matrix products then, in which YNNPACK is faster: do not set this for a dense net.
    """
    if jax.default_backend() != "cpu":
        return {}
    kinds = ("INDIVIDUAL_DOT", "REDUCE")
    kept = ",".join(f"LIBRARY_FUSION_TYPE_{kind}" for kind in kinds)
    options: dict[str, str | bool] = {YNNPACK: kept, VECTORS: "512"}
    if half_convolutions and _onednn_convolves():
        options[ONEDNN] = True
    flags = os.environ.get("XLA_FLAGS", "")
    return {name: v for name, v in options.items() if name not in flags and _is_known(name, v)}


@cache
def _is_known(name: str, value: str | bool) -> bool:
    """Whether this version of XLA knows the option, which is experimental."""
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
