"""The choice between the in-memory and the streaming pipeline."""

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
from jax.sharding import Mesh

from ae_jax.data.generated import Generated
from ae_jax.data.records import Records
from ae_jax.data.shards import Shards
from ae_jax.devices.memory import SHARE, data_bytes, device_bytes, host_bytes, size

log = logging.getLogger(__name__)


def which_to_stream(
    sets: Mapping[str, Mapping[str, np.ndarray]], mesh: Mesh, stream: bool | None
) -> dict[str, bool]:
    """Whether each data set, by name, is streamed (see `ae_jax.data.stream`).

    Args:
      sets: the data sets.
      mesh: the devices.
      stream: True or False for all of them, except for those that are `Generated`, which have
        nothing on the host to stream. With None, the largest sets are streamed until the
        others fit into `SHARE` of a device's memory; a warning says so. So are shards that take
        more than a quarter of the memory of this machine.

    Raises:
      ValueError: `stream` is False and a set is of `Records`, which are always streamed.
    """
    streamed = {}
    memory = device_bytes(mesh) if stream is None else None
    total = 0
    for name, data in sorted(sets.items(), key=lambda item: data_bytes(item[1])):
        need = data_bytes(data)
        if isinstance(data, Generated):
            streamed[name] = False
            total += need
        elif any(isinstance(array, Records) for array in data.values()):
            if stream is False:
                raise ValueError(
                    f"{name}: is decoded while training, so it must be streamed: remove "
                    "stream=False, or load it with decode='once'"
                )
            streamed[name] = True
        elif stream is None and _are_large_shards(data, need):
            log.warning(
                "%s takes %s, more than a quarter of this machine's memory: it is streamed from "
                "its shards",
                name,
                size(need),
            )
            streamed[name] = True
        elif memory is not None and total + need > SHARE * memory:
            beside = f" and {size(total)} beside it" if total else ""
            log.warning(
                "%s takes %s%s, more than half of a device's %s: it is streamed from the host",
                name,
                size(need),
                beside,
                size(memory),
            )
            streamed[name] = True
        else:
            streamed[name] = bool(stream)
            total += need
    return streamed


def _are_large_shards(data: Mapping[str, Any], need: int) -> bool:
    """Whether shards of `need` bytes are too large to be read and copied to a device.

    They and their copy may fill `SHARE` of the memory of this machine.
    """
    return any(isinstance(c, Shards) for c in data.values()) and 2 * need > SHARE * host_bytes()
