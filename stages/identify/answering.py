"""By which scores and rules a track is decided, and what is said of it."""

from __future__ import annotations

import math
from bisect import bisect_left

import numpy as np

from stages.identify.calibrations import rate_of
from stages.identify.comparing import Compared
from stages.identify.config import Config
from stages.identify.decision import DEFAULT_THRESHOLD, THRESHOLDS, Rules
from stages.identify.state import Track, View


def is_by_level(compared: Compared, config: Config) -> bool:
    """Say whether a track is decided by false-alarm levels: calibrated, and no threshold set."""
    return compared.strengths is not None and config.threshold is None


def deciding_scores(compared: Compared, config: Config) -> np.ndarray:
    """Return float64 [people]: decades of false-alarm level, else similarities."""
    if is_by_level(compared, config):
        assert compared.strengths is not None
        return compared.strengths
    return compared.alike


def rules_for(view: View, track: Track, config: Config) -> Rules:
    """Return the rules on the scale of the scores that decide."""
    patience = (config.min_windows, config.switch_windows, config.memory_windows)
    if is_by_level(track.compared, config):
        rate = rate_of(view.comparers[track.evidence.key], config)
        return Rules(-math.log10(rate), 1.0, math.log10(config.level_margin), *patience)
    threshold = config.threshold
    if threshold is None:
        threshold = THRESHOLDS.get(track.evidence.network, DEFAULT_THRESHOLD)
    return Rules(threshold, config.contrast, config.margin, *patience)


def shown(view: View | None, track: Track) -> tuple[float, float | None]:
    """Return score and false-alarm level of the given name; without one, of the nearest.

    No level is claimed of a track that is pending or was not compared with anybody.
    """
    compared = track.compared
    if compared.nearest < 0:
        return 0.0, None
    assert view is not None, "what was compared was compared with a view"
    comparer = view.comparers[track.evidence.key]
    row = compared.nearest
    if track.answer.state == "known":
        row = bisect_left(comparer.index.people, track.answer.person_id)
    score = float(compared.alike[row])
    if compared.strengths is None or track.answer.state == "pending":
        return score, None
    assert comparer.calibration is not None
    level = 10.0 ** -float(compared.strengths[row])
    return score, comparer.calibration.claim(level, comparer.count)
