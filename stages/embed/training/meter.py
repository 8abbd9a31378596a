"""Means over the steps since the last row of the curve."""

from __future__ import annotations

import math
from collections.abc import Mapping


class Meter:
    """Adds numbers up by name. What is not finite counts as not there.

    Its state is plain data, so that a row that a kill cut in two comes out the same.
    """

    def __init__(self) -> None:
        self._sums: dict[str, float] = {}
        self._counts: dict[str, int] = {}

    def add(self, numbers: Mapping[str, float]) -> None:
        """Take in one step's numbers."""
        for name, number in numbers.items():
            if math.isfinite(number):
                self._sums[name] = self._sums.get(name, 0.0) + number
                self._counts[name] = self._counts.get(name, 0) + 1

    def mean(self, name: str) -> float | None:
        """Return a mean, None if the name did not occur."""
        return self._sums[name] / self._counts[name] if name in self._sums else None

    def total(self, name: str) -> float:
        """Return a sum."""
        return self._sums.get(name, 0.0)

    def clear(self) -> None:
        """Begin the next row."""
        self._sums.clear()
        self._counts.clear()

    def state(self) -> dict[str, dict[str, float]]:
        """Return what a checkpoint keeps."""
        return {"sums": dict(self._sums), "counts": dict(self._counts)}

    def restore(self, state: Mapping[str, Mapping[str, float]]) -> None:
        """Go on from what `state` returned."""
        self._sums = dict(state["sums"])
        self._counts = {name: int(count) for name, count in state["counts"].items()}
