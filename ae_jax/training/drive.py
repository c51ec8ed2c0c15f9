"""Run a compiled loop over the pieces of a pipeline, in short calls that can be stopped between."""

import time
from collections.abc import Callable, Iterable
from typing import Any

import jax
import numpy as np
from jax.experimental.multihost_utils import broadcast_one_to_all

from ae_jax.training.loop import Sums

TARGET = 0.5
"""The target length of a call in seconds; a longer step is a call of its own.

Shorter calls are slower: on a CPU each call allocates its working memory again, and the operating
system must map its pages again.
"""

Pieces = Iterable[tuple[Any, int, int]]
Call = Callable[[Any, Any, np.int32, np.int32], Any]


class Pace:
    """The number of steps in one call, doubled until a call takes about `TARGET` seconds.

    The number does not change the result of a run. Several processes must use the same one, so the
    first process's clock decides.
    """

    def __init__(self) -> None:
        self.steps = 1
        self.slow = 0

    @property
    def settled(self) -> bool:
        """Whether several calls in a row were long enough.

        One slow call proves nothing: it may warm up, or wait for another program.
        """
        return self.slow >= 4

    def adjust(self, seconds: float) -> None:
        """Adjust `steps` to the duration of a finished call that had this number of steps."""
        fast = seconds < TARGET / 2
        if jax.process_count() > 1:
            fast = bool(broadcast_one_to_all(np.int32(fast)))
        if fast:
            self.steps, self.slow = 2 * self.steps, 0
        else:
            self.slow += 1


def drive(
    call: Call,
    carry: tuple[Any, Sums],
    pieces: Pieces,
    pace: Pace,
    stop: Callable[[Sums], bool] = lambda sums: False,
) -> tuple[Any, Sums]:
    """Run ``carry = call(carry, data, first, count)`` over all pieces, or until `stop` is True.

    While the device works on one call, the host prepares the next, but not the one after it. The
    host waits only for calls of a single long step, and for calls that `pace` measures. After each
    call ``stop(sums)`` gets the sums of the last finished call. Returns the last carry.
    """
    for data, first, count in pieces:
        while count > 0:
            steps, finished, began = min(pace.steps, count), carry[1], time.perf_counter()
            carry = call(carry, data, np.int32(first), np.int32(steps))
            timed = not pace.settled and steps == pace.steps
            if timed or pace.steps == 1:
                finished = carry[1]
            jax.block_until_ready(finished)
            if timed:
                pace.adjust(time.perf_counter() - began)
            if stop(finished):
                return carry
            first, count = first + steps, count - steps
    return carry
