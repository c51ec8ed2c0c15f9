"""Standard output that may lose its reader: ``python -m experiments.train | head -1``.

The command then prints into nothing, and its work continues to the end.
"""

import io
import os
import sys
from typing import Any, TextIO


def survive_lost_readers() -> None:
    """Replace ``sys.stdout`` and ``sys.stderr`` by streams that a broken pipe does not stop."""
    sys.stdout, sys.stderr = _lasting(sys.stdout), _lasting(sys.stderr)


class _Lasting(io.FileIO):
    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            nothing = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nothing, self.fileno())
            os.close(nothing)
            return len(memoryview(data))


def _lasting(stream: TextIO) -> TextIO:
    if stream is None:  # it was closed before the start
        return stream
    stream.flush()
    raw = _Lasting(stream.fileno(), "w", closefd=False)
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=bool(stream.line_buffering) or stream.isatty(),
    )
