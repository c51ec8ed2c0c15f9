"""The rows of metrics.jsonl as curves: a chart for each metric, a line for each run and split."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

CHARTS = 24
SPEED = "images_per_second"
POINTS = 2_000
"""Of one line, at most: a longer one is thinned evenly and keeps its last point."""


def curves(named: Mapping[str, Sequence[Mapping[str, Any]]]) -> tuple[list[dict[str, Any]], str]:
    """Charts of the rows of runs, which are given by name: the loss first, the speed last.

    Returns:
      ``[{"name": "loss", "lines": [{"run": 0, "split": "test", "step", "epoch", "value"}]}]``,
      where a value that was not finite is None (a gap in the line); and a note on the metrics that
      are not drawn, or "".
    """
    names = {key for rows in named.values() for row in rows for key in row}
    terms = sorted(names - {"step", "epoch", "split", "loss", SPEED})
    charts = []
    for name in ("loss", *terms, SPEED):
        lines = [
            line
            for number, rows in enumerate(named.values())
            for line in _lines(number, name, rows)
        ]
        if lines:
            charts.append({"name": name, "lines": lines})
    omitted = [chart["name"] for chart in charts[CHARTS:]]
    return charts[:CHARTS], f"{len(omitted)} more metrics are not drawn." if omitted else ""


def _lines(run: int, name: str, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    splits: dict[str, list[tuple[Any, ...]]] = {}
    for row in rows:
        value = row.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool):
            point = row["step"], _number(row.get("epoch")), _number(value)
            splits.setdefault(str(row.get("split", "")), []).append(point)
    lines = []
    for split, points in splits.items():
        points = points[:: math.ceil(len(points) / POINTS)] + points[-1:] * (len(points) > POINTS)
        step, epoch, value = (list(column) for column in zip(*points, strict=True))
        lines.append({"run": run, "split": split, "step": step, "epoch": epoch, "value": value})
    return lines


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:
        return None
