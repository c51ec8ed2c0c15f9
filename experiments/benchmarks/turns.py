"""Measurements that were repeated in turns (A B A B ...), which a busy machine slows alike.

A measurement is a dict with ``images_per_second``, the median of its ``epochs``. One that was
repeated is the turn in the middle, with the epochs of every one in ``turns``.
"""

import statistics
from collections.abc import Sequence
from typing import Any

Result = dict[str, Any]


def merged(turns: Sequence[Result]) -> Result:
    """One of several measurements of the same: that of the middle speed, or the first that failed.

    Of an even number the slower of the two in the middle.
    """
    failed = next((turn for turn in turns if "error" in turn), None)
    if failed is not None:
        return failed
    middle = sorted(turns, key=lambda turn: turn["images_per_second"])[(len(turns) - 1) // 2]
    return middle | {"turns": [turn["epochs"] for turn in turns]}


def ratios(ours: Result, peer: Result) -> list[float]:
    """How many times as fast ours was in each turn."""
    pairs = zip(ours["turns"], peer["turns"], strict=True)
    return [statistics.median(a) / statistics.median(b) for a, b in pairs]
