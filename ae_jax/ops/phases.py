"""Phases: neighboring pixels of a result that are made by convolutions of the same input."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from ae_jax.ops.lax_convolution import Pair, Stretch


class Phases(NamedTuple):
    """One axis of a result whose pixel ``count * q + r`` is pixel ``q`` of phase ``r``.

    Each phase is a convolution of the same input with a kernel of its own, made of the given one.
    """

    taps: np.ndarray
    """``[tap of the phase's kernel, phase, tap of the given kernel]``: 1 where this holds that."""
    stride: int
    pads: Pair
    out: int
    """Pixels of the result; the last phases may have one more to crop."""


def each_phase(axis: Phases) -> Iterator[Phases]:
    """Each phase with the taps that it has, and no others."""
    for phase in range(axis.taps.shape[1]):
        taps = axis.taps[:, phase : phase + 1]
        met = np.flatnonzero(taps.any(axis=(1, 2)))
        first, last = (met[0], met[-1]) if len(met) else (0, 0)
        low, high = axis.pads
        pads = (low - int(first), high - (len(taps) - 1 - int(last)))
        yield axis._replace(taps=taps[first : last + 1], pads=pads)


def block_phases(n: int, taps: int, pads: Pair) -> Phases:
    """Two neighboring pixels of an ordinary convolution."""
    window, phase, tap = np.indices((taps + 1, 2, taps))
    out = n + sum(pads) - taps + 1
    return Phases(window == phase + tap, 2, (pads[0], pads[1] + out % 2), out)


def stretch_phases(n: int, axis: Stretch) -> Phases:
    """The pixels between two neighbors of a stretched image, without stretching it.

    A phase meets the same taps in every place; where several meet one pixel, they are summed.
    """
    phase, tap = np.indices((axis.factor, axis.taps))
    pixel, between = np.divmod(phase + tap - axis.low, axis.factor)
    meets = (between == 0) | axis.hold
    first, last = pixel[meets].min(), pixel[meets].max()
    taps = (pixel == np.arange(first, last + 1)[:, None, None]) & meets
    pads = (int(-first), int(-(-axis.out // axis.factor) + last - n))
    return Phases(taps, 1, pads, axis.out)
