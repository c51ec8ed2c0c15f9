"""Memory of this machine and of this process, in bytes."""

import resource
import sys
from pathlib import Path

import psutil

_CGROUP = Path("/sys/fs/cgroup/memory.max")
_STATUS = Path("/proc/self/status")
_CLEAR_REFS = Path("/proc/self/clear_refs")


def memory_bytes() -> int:
    """Memory of the machine, or of its container if that has less (psutil ignores containers)."""
    total = int(psutil.virtual_memory().total)
    try:
        return min(total, int(_CGROUP.read_text()))
    except (OSError, ValueError):  # no such file, or "max": no limit
        return total


def resident_bytes() -> int:
    """Memory that this process holds."""
    return int(psutil.Process().memory_info().rss)


def peak_bytes() -> int:
    """The most memory that this process has held, since `reset_peak` if that succeeded."""
    try:
        lines = _STATUS.read_text().splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    except (OSError, StopIteration):  # not Linux
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else 1024 * peak


def reset_peak() -> bool:
    """Restart the count of `peak_bytes`; False if the system cannot (only Linux can)."""
    try:
        _CLEAR_REFS.write_text("5")
    except OSError:
        return False
    return True
