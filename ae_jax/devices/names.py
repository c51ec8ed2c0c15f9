"""Names of the devices that compute; runs record them, since speed and rounding depend on them."""

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
    """The name of jax's first device: "NVIDIA H200", or for a CPU "AMD EPYC (AVX-512)".

    The brackets name a CPU's widest vector units, because clouds use one name for different CPUs.
    """
    first = jax.devices()[0]
    return cpu_name() if first.platform == "cpu" else first.device_kind


def cpu_name() -> str:
    """The processor's name (or its architecture), and on Linux its widest vector units."""
    name = " ".join(_field("model name").split()) or platform.processor() or platform.machine()
    flags = cpu_flags().split()
    unit = next((unit for flag, unit in _UNITS.items() if flag in flags), None)
    return f"{name} ({unit})" if unit else name


def cpu_flags() -> str:
    """The CPU's features as Linux lists them, separated by spaces; empty on other systems."""
    return _field("flags") or _field("Features")


def _field(name: str) -> str:
    """The value of a field of the first core in /proc/cpuinfo, or ""."""
    try:
        lines = _CPUINFO.read_text().splitlines()
    except OSError:
        return ""
    pairs = (line.partition(":") for line in lines)
    return next((value.strip() for key, _, value in pairs if key.strip() == name), "")
