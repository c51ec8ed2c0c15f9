"""Measurements repeated in turns (A B A B ...), so that a busy machine slows all of them equally.

A measurement is a dict with ``images_per_second``, the median of its ``epochs``, or with ``error``.
"""

import statistics
from collections.abc import Sequence
from typing import Any

Result = dict[str, Any]


def merged(turns: Sequence[Result]) -> Result:
    """The measurement of median speed (the slower one of two), or a failed one if any failed.

    Its ``turns`` are the epochs of all measurements that succeeded.
    """
    epochs = [turn["epochs"] for turn in turns if "error" not in turn]
    chosen = next((turn for turn in turns if "error" in turn), None)
    if chosen is None:
        by_speed = sorted(turns, key=lambda turn: turn["images_per_second"])
        chosen = by_speed[(len(turns) - 1) // 2]
    return {key: value for key, value in chosen.items() if key != "epochs"} | {"turns": epochs}


def ratios(ours: Result, peers: Sequence[Result]) -> list[float]:
    """The ratio of our speed to that of the fastest peer, in each turn."""
    theirs = zip(*map(_medians, peers), strict=True)
    return [a / max(b) for a, b in zip(_medians(ours), theirs, strict=True)]


def _medians(result: Result) -> list[float]:
    return [statistics.median(epochs) for epochs in result["turns"]]
