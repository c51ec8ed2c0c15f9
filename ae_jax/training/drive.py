"""Calls of a compiled loop over the pieces of a pipeline, each short, to end soon when asked."""

import time
from collections.abc import Callable, Iterable
from typing import Any

import jax
import numpy as np
from jax.experimental.multihost_utils import broadcast_one_to_all

from ae_jax.training.loop import Sums

TARGET = 0.5
"""Seconds to a call, or one step where that takes longer.

A CPU's call finds its working memory anew, and no page of it in place: in calls of one step, a
convolutional net of 34 MB of it trained 3,250 images/s, and 4,790 in calls of this length.
"""

Pieces = Iterable[tuple[Any, int, int]]
Call = Callable[[Any, Any, np.int32, np.int32], Any]


class Pace:
    """How many steps go into one call: doubled until a call takes about `TARGET` seconds.

    How a run is cut into calls does not change what it computes. Several processes must cut it in
    the same places, so the first one's clock counts.
    """

    def __init__(self) -> None:
        self.steps = 1
        self.slow = 0

    @property
    def settled(self) -> bool:
        """Whether several calls in a row took long enough: the first ones warm up, and any may be
        held up by another program."""
        return self.slow >= 4

    def took(self, seconds: float) -> None:
        """Learn from a call of so many steps that was waited for."""
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
    """``carry = call(carry, data, first, count)`` over all pieces, or until it is told to stop.

    While the device works on a call the next is prepared, and no more than that; only calls of a
    single long step, and those that show how long one takes, are waited for. `stop` is asked after
    each, with the sums of the last one that is done.
    """
    for data, first, count in pieces:
        while count > 0:
            steps, before, began = min(pace.steps, count), carry[1], time.perf_counter()
            carry = call(carry, data, np.int32(first), np.int32(steps))
            timed = not pace.settled and steps == pace.steps
            if timed or pace.steps == 1:
                before = carry[1]
            jax.block_until_ready(before)
            if timed:
                pace.took(time.perf_counter() - began)
            if stop(before):
                return carry
            first, count = first + steps, count - steps
    return carry
