"""Reading files that may be damaged, without believing their headers."""

from __future__ import annotations

from typing import BinaryIO

CHUNK = 1 << 20


def read_exactly(stream: BinaryIO, size: int) -> bytearray:
    """Reads a stream that must hold `size` bytes and then end.

    Memory grows with what the stream really holds and never beyond `size`, whatever `size` a
    header declared. Reading to the end also makes gzip and zip streams verify their checksums.

    Raises:
      ValueError: the stream holds more or fewer bytes, or `size` is negative.
    """
    if size < 0:
        raise ValueError(f"its header declares {size} bytes of data")
    data = bytearray()
    while block := stream.read(min(CHUNK, size + 1 - len(data))):
        data += block
    if len(data) != size:
        held = "more" if len(data) > size else f"only {len(data)}"
        raise ValueError(f"its header declares {size} bytes of data, it holds {held}")
    return data
