"""Measurements that were repeated in turns (A B A B ...), which a busy machine slows alike.

A measurement is a dict with ``images_per_second``, the median of its ``epochs``, or with ``error``.
"""

import statistics
from collections.abc import Sequence
from typing import Any

Result = dict[str, Any]


def merged(turns: Sequence[Result]) -> Result:
    """The measurement of middle speed (of an even number the slower of two) or, if one failed, that
    one; the epochs of all that did not are its ``turns``."""
    epochs = [turn["epochs"] for turn in turns if "error" not in turn]
    found = next((turn for turn in turns if "error" in turn), None)
    if found is None:
        by_speed = sorted(turns, key=lambda turn: turn["images_per_second"])
        found = by_speed[(len(turns) - 1) // 2]
    return {key: value for key, value in found.items() if key != "epochs"} | {"turns": epochs}


def ratios(ours: Result, peers: Sequence[Result]) -> list[float]:
    """How many times as fast ours was as the fastest of the peers, in each turn."""
    theirs = zip(*map(_medians, peers), strict=True)
    return [a / max(b) for a, b in zip(_medians(ours), theirs, strict=True)]


def _medians(result: Result) -> list[float]:
    return [statistics.median(epochs) for epochs in result["turns"]]
