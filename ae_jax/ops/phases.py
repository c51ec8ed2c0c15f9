"""Phases: neighboring pixels of a result, each computed by a convolution of the same input."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from ae_jax.ops.lax_convolution import Pair, Stretch


class Phases(NamedTuple):
    """One axis of a result; its pixel ``count * q + r`` is pixel ``q`` of phase ``r``.

    Each phase is a convolution of the same input with its own kernel, which has taps of the full
    kernel.
    """

    taps: np.ndarray
    """``[tap of the phase's kernel, phase, tap of the full kernel]``: 1 if the taps are equal."""
    stride: int
    pads: Pair
    out: int
    """Pixels of the result; the last phases may have one more, which is cropped."""


def each_phase(axis: Phases) -> Iterator[Phases]:
    """Each phase alone, without the taps that it lacks."""
    for phase in range(axis.taps.shape[1]):
        taps = axis.taps[:, phase : phase + 1]
        used = np.flatnonzero(taps.any(axis=(1, 2)))
        first, last = (used[0], used[-1]) if len(used) else (0, 0)
        low, high = axis.pads
        pads = (low - int(first), high - (len(taps) - 1 - int(last)))
        yield axis._replace(taps=taps[first : last + 1], pads=pads)


def block_phases(n: int, taps: int, pads: Pair) -> Phases:
    """The phases of an ordinary convolution: two neighboring pixels."""
    window, phase, tap = np.indices((taps + 1, 2, taps))
    out = n + sum(pads) - taps + 1
    return Phases(window == phase + tap, 2, (pads[0], pads[1] + out % 2), out)


def stretch_phases(n: int, axis: Stretch) -> Phases:
    """The phases of a convolution over a stretched image, without creating that image.

    A phase has the same taps everywhere. Taps that meet the same pixel of the input are summed.
    """
    phase, tap = np.indices((axis.factor, axis.taps))
    pixel, between = np.divmod(phase + tap - axis.low, axis.factor)
    meets = (between == 0) | axis.hold
    first, last = pixel[meets].min(), pixel[meets].max()
    taps = (pixel == np.arange(first, last + 1)[:, None, None]) & meets
    pads = (int(-first), int(-(-axis.out // axis.factor) + last - n))
    return Phases(taps, 1, pads, axis.out)
