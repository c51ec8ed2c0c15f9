"""What the devices of a compiled program exchange."""

import math
import re
from collections.abc import Mapping
from typing import NamedTuple

KINDS = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")
_COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.-]+) \(.*\{$")
_COLLECTIVE = re.compile(rf"= (.*?) ({'|'.join(KINDS)})(-start)?\(")
_ARRAY = re.compile(r"\b(pred|[a-z]+\d+)\w*\[([\d,]*)\]")
_LOOP = re.compile(r"\b(?:body|condition)=%?([\w.-]+)")
_CALL = re.compile(r"\b(?:calls|to_apply|true_computation|false_computation)=%?([\w.-]+)")
_BRANCHES = re.compile(r"\b(?:branch_computations|called_computations)=\{([^}]*)\}")


class Collective(NamedTuple):
    """An exchange between devices."""

    kind: str
    shapes: str
    """Of its result on a device: ``f32[256,4096]``."""
    bytes: int
    """Of its result on a device."""
    loops: int
    """How many loops it is inside."""


def collectives(program: str) -> list[Collective]:
    """The collectives of a compiled program, from its text, in the order of the text."""
    computations: dict[str, list[str]] = {}
    entry, lines = "", list[str]()
    for line in program.splitlines():
        if header := _COMPUTATION.match(line):
            lines = computations.setdefault(header[2], [])
            entry = header[2] if header[1] else entry
        else:
            lines.append(line)
    loops = _loops(computations, entry)
    return [
        _collective(match, loops[name])
        for name, lines in computations.items()
        if name in loops
        for line in lines
        if (match := _COLLECTIVE.search(line))
    ]


def _loops(computations: Mapping[str, list[str]], entry: str) -> dict[str, int]:
    """How many loops each computation is inside, as seen from the entry."""
    depths: dict[str, int] = {}
    waiting = [(entry, 0)]
    while waiting:
        name, depth = waiting.pop()
        if name not in computations or depths.get(name, -1) >= depth:
            continue
        depths[name] = depth
        for line in computations[name]:
            waiting += [(inner, depth + 1) for inner in _LOOP.findall(line)]
            waiting += [(inner, depth) for inner in _CALL.findall(line)]
            for names in _BRANCHES.findall(line):
                waiting += [(inner.strip(" %"), depth) for inner in names.split(",")]
    return depths


def _collective(match: re.Match[str], loops: int) -> Collective:
    arrays = _ARRAY.findall(match[1])
    if match[3] and match[2] in ("all-gather", "collective-permute"):
        arrays = arrays[len(arrays) // 2 :]  # the first half are the operands
    shapes = [f"{dtype}[{sizes}]" for dtype, sizes in arrays]
    return Collective(match[2], ", ".join(shapes), sum(_bytes(*array) for array in arrays), loops)


def _bytes(dtype: str, sizes: str) -> int:
    bits = int(re.sub(r"\D", "", dtype) or 8)  # pred has no number
    return math.prod(int(n) for n in sizes.split(",") if n) * max(bits // 8, 1)
