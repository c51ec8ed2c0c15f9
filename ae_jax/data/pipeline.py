"""Which pipeline a data set takes to the devices."""

import logging
from collections.abc import Mapping

import numpy as np
from jax.sharding import Mesh

from ae_jax.capacity import SHARE, data_bytes, device_bytes, size
from ae_jax.data.memory import InMemory, Order
from ae_jax.data.records import Records
from ae_jax.data.stream import Streamed

log = logging.getLogger(__name__)


def make_feed(
    data: Mapping[str, np.ndarray],
    order: Order,
    *,
    padded: bool,
    mesh: Mesh,
    stream: bool | None,
    name: str,
) -> InMemory | Streamed:
    """The batches of `data` in `order`: from the memory of the devices, or streamed.

    With ``stream=None`` that depends on the size of the data, and streaming is logged under `name`.
    Raises `ValueError` if data that is decoded as it is read should not be streamed.
    """
    if any(isinstance(array, Records) for array in data.values()):
        if stream is False:
            raise ValueError(f"{name}: is decoded while training, so it is streamed: leave out "
                             "stream=False, or decode it once")  # fmt: skip
        stream = True
    if stream is None:
        need, there = data_bytes(data), device_bytes(mesh)
        stream = need > SHARE * there
        if stream:
            log.warning(
                "%s takes %s, more than half of a device's %s: it is streamed from the host",
                name, size(need), size(there),
            )  # fmt: skip
    pipeline = Streamed if stream else InMemory
    return pipeline(data, order, padded=padded, mesh=mesh)
