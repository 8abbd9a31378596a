"""Which calibration belongs to which weights: the one that was given, else the one that ships."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.errors import CalibrationError
from stages.identify.calibration import Calibration
from stages.identify.calibration_file import (
    check_metric,
    check_weights,
    read_calibration,
    shipped_calibration,
)
from stages.identify.comparing import Comparer, NetworkKey
from stages.identify.config import Config
from stages.identify.search import Metric

# What is asked for by default, and the most that can be asked for.
DEFAULT_RATE, MAX_RATE = 0.01, 0.5


def rate_of(comparer: Comparer, config: Config) -> float:
    """Return the false-alarm rate at which names are given.

    Without one set it is 1 %, or the lowest that is vouched for with so many templates.
    """
    assert comparer.calibration is not None
    if config.false_alarm_rate is not None:
        return config.false_alarm_rate
    return max(DEFAULT_RATE, comparer.calibration.claim(0.0, comparer.count))


class Calibrations:
    """The calibrations of a run.

    Attributes:
        metric: of vectors without a calibration.
        notes: what the reader of a report should know.
    """

    def __init__(self, config: Config) -> None:
        """Read the calibration that was given, if one was.

        Raises:
            CalibrationError: it cannot be read, or is of another metric than was asked for.
        """
        self._config = config
        self._given: Calibration | None = None
        self._found: dict[NetworkKey, Calibration | None] = {}
        self.metric: Metric = "euclidean" if config.metric == "auto" else config.metric
        self.notes: list[str] = []
        if config.calibration is not None:
            self._given = read_calibration(config.calibration)
            check_metric(config.calibration, self._given, config.metric)

    def find(self, network: str, weights_hash: str) -> Calibration | None:
        """Return the calibration of these weights, None if there is none.

        Raises:
            CalibrationError: the one that ships is damaged.
        """
        key = (network, weights_hash)
        given = self._given
        if given is not None and (given.network, given.weights_hash) == key:
            return given
        if key not in self._found:
            self._found[key] = self._shipped(network, weights_hash)
        return self._found[key]

    def _shipped(self, network: str, weights_hash: str) -> Calibration | None:
        found = shipped_calibration(network, weights_hash)
        if found is not None and self._config.metric not in ("auto", found.metric):
            self.notes.append(
                f"the calibration that comes with {network} is of {found.metric} distances and is "
                f"not used: identify.metric is {self._config.metric}"
            )
            return None
        return found

    def check_vectors(self, network: str, weights_hash: str) -> None:
        """Check that vectors are of the weights of the calibration that was given, if one was.

        Raises:
            CalibrationError: they are not.
        """
        if self._given is not None:
            assert self._config.calibration is not None
            check_weights(self._config.calibration, self._given, network, weights_hash)

    def check_gallery(self, comparers: Mapping[NetworkKey, Comparer]) -> None:
        """Check that a gallery can be searched as asked.

        Raises:
            CalibrationError: the calibration that was given is of weights of which the gallery
                holds no template, or none vouches for so low a false-alarm rate.
        """
        given = self._given
        if (
            given is not None
            and comparers
            and ((given.network, given.weights_hash) not in comparers)
        ):
            self.check_vectors(*sorted(comparers)[0])
        if self._config.threshold is None:
            for comparer in comparers.values():
                if comparer.calibration is not None:
                    self._check_rate(comparer.calibration, comparer.count)

    def _check_rate(self, calibration: Calibration, templates: int) -> None:
        asked = self._config.false_alarm_rate
        carried = calibration.carried(templates)
        if (asked or MAX_RATE) < carried:
            raise CalibrationError(
                f"a false-alarm rate of {asked or MAX_RATE:g} cannot be vouched for with "
                f"{templates} templates in the gallery: the calibration of {calibration.network} "
                f"rests on {calibration.basis.people} people and reaches {carried:.2g}",
                hint=f"Ask for less (identify.false_alarm_rate={calibration.claim(0, templates):g})"
                ", calibrate with more people, or set identify.threshold yourself.",
            )

    def facts(self, comparers: Mapping[NetworkKey, Comparer]) -> list[dict[str, Any]]:
        """Return what a report should say of each calibration in use, JSON-safe."""
        return [
            _facts(comparer.calibration, comparer.count, rate_of(comparer, self._config))
            for _, comparer in sorted(comparers.items())
            if comparer.calibration is not None
        ]


def _facts(calibration: Calibration, templates: int, asked: float) -> dict[str, Any]:
    site = calibration.site
    return {
        "network": calibration.network,
        "weights_hash": calibration.weights_hash,
        "metric": calibration.metric,
        "normalisation": calibration.norm.kind,
        "people": calibration.basis.people,
        "templates": templates,
        "asked_false_alarm_rate": asked,
        "lowest_false_alarm_rate": calibration.claim(0.0, templates),
        "measured_down_to": calibration.measured(templates),
        "site_tracks": None if site is None else site.tracks,
    }
