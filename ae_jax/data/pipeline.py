"""Which pipeline each data set takes to the devices."""

import logging
from collections.abc import Mapping

import numpy as np
from jax.sharding import Mesh

from ae_jax.data.records import Records
from ae_jax.devices.memory import SHARE, data_bytes, device_bytes, size

log = logging.getLogger(__name__)


def which_to_stream(
    sets: Mapping[str, Mapping[str, np.ndarray]], mesh: Mesh, stream: bool | None
) -> dict[str, bool]:
    """Whether each of the data sets, by name, is streamed (`ae_jax.data.stream`).

    All of them as `stream` says; with None those, the largest first, without which the others take
    no more than `SHARE` of a device's memory, and that is logged. `Records` always are, which
    raises `ValueError` if they should not be.
    """
    found = {}
    there = device_bytes(mesh) if stream is None else None
    total = 0
    for name, data in sorted(sets.items(), key=lambda item: data_bytes(item[1])):
        need = data_bytes(data)
        if any(isinstance(array, Records) for array in data.values()):
            if stream is False:
                raise ValueError(
                    f"{name}: is decoded while training, so it is streamed: leave out "
                    "stream=False, or decode it once"
                )
            found[name] = True
        elif there is not None and total + need > SHARE * there:
            beside = f" and {size(total)} beside it" if total else ""
            log.warning(
                "%s takes %s%s, more than half of a device's %s: it is streamed from the host",
                name, size(need), beside, size(there),
            )  # fmt: skip
            found[name] = True
        else:
            found[name] = bool(stream)
            total += need
    return found
