"""Devices that this machine lacks, and for which a compiler can compile all the same."""

import math
import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
from jax.experimental import topologies


class Kind(NamedTuple):
    """A kind of accelerator, from its maker's pages."""

    memory: int
    """Bytes of a device."""
    most: int
    """Devices of the largest slice."""


KINDS = {"v5e": Kind(16 * 2**30, 256), "v6e": Kind(32 * 2**30, 256)}
"""Google Cloud, TPU v5e and TPU v6e."""


class Target(NamedTuple):
    """Devices to compile for."""

    name: str
    devices: Sequence[Any]
    memory: int
    """Bytes of a device."""


def find_target(name: str) -> Target:
    """The devices of a slice of TPUs: ``v5e:16x16``. No TPU is needed, but its compiler is.

    Call it where jax itself computes on a CPU. Raises `ValueError` for a slice that does not exist,
    and without the compiler.
    """
    kind, _, topology = name.partition(":")
    sizes = topology.split("x")
    if kind not in KINDS or not all(size.isdecimal() for size in sizes):
        raise ValueError(f"{name!r}: must be {' or '.join(KINDS)}, and a slice of it: 'v5e:16x16'")
    if math.prod(map(int, sizes)) > KINDS[kind].most:
        raise ValueError(f"{name!r}: the largest slice has {KINDS[kind].most} devices")
    # Without these, libtpu looks for a machine with TPUs and for the other hosts of its slice.
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
    os.environ.setdefault("TPU_ACCELERATOR_TYPE", "v5litepod-4")
    os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")
    try:
        described = topologies.get_topology_desc(platform="tpu", topology_name=name)
    except jax.errors.JaxRuntimeError as error:
        raise ValueError(f"{name!r}: {str(error).partition(chr(10))[0]}") from None
    except RuntimeError:  # jax finds no libtpu
        install = f"pip install 'jax[tpu]=={jax.__version__}'"
        raise ValueError(f"{name!r}: the compiler of TPUs is not installed: {install}") from None
    return Target(name, list(described.devices), KINDS[kind].memory)
