"""What computes, in words: speeds and rounding depend on it, so records of runs tell it."""

import platform
from pathlib import Path

import jax

_CPUINFO = Path("/proc/cpuinfo")
_UNITS = {  # the widest first
    "amx_tile": "AMX",
    "avx512_bf16": "AVX-512 with bfloat16",
    "avx512f": "AVX-512",
    "avx2": "AVX2",
    "sve": "SVE",
    "asimd": "NEON",
}


def device_name() -> str:
    """Of the first device that jax uses: "NVIDIA H200"; of a CPU "AMD EPYC (AVX-512)".

    In brackets are its widest units: clouds give CPUs that differ in them the same name.
    """
    first = jax.devices()[0]
    return cpu_name() if first.platform == "cpu" else first.device_kind


def cpu_name() -> str:
    """The processor's name, or only its architecture where the system tells no more, and, on Linux,
    its widest units."""
    name = " ".join(_field("model name").split()) or platform.processor() or platform.machine()
    flags = cpu_flags().split()
    unit = next((unit for flag, unit in _UNITS.items() if flag in flags), None)
    return f"{name} ({unit})" if unit else name


def cpu_flags() -> str:
    """What the CPU can do, as Linux lists it, separated by spaces; empty on other systems."""
    return _field("flags") or _field("Features")


def _field(name: str) -> str:
    """What Linux tells of the first core under this name; empty where it does not."""
    try:
        lines = _CPUINFO.read_text().splitlines()
    except OSError:
        return ""
    pairs = (line.partition(":") for line in lines)
    return next((value.strip() for key, _, value in pairs if key.strip() == name), "")
