"""Which calibration a run takes, and that it fits its weights, before the first frame."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from pipeline.config import PipelineConfig
from pipeline.errors import CalibrationError

SUFFIX = ".calibration.json"


def beside(weights: Path) -> Path:
    """Return where the calibration of a weights file lies, if it lies beside it."""
    return weights.with_suffix(SUFFIX)


def settings_beside(config: PipelineConfig) -> dict[str, Any]:
    """Return the setting that takes the calibration beside the weights, if there is one.

    A calibration that was asked for goes before it; the one that comes with the program after it.
    """
    weights = config.stages["embed"].weights
    if weights is None or config.stages["identify"].calibration is not None:
        return {}
    path = beside(weights)
    return {"identify.calibration": str(path)} if path.is_file() else {}


def check_calibration(config: PipelineConfig) -> None:
    """Check that the calibration of a run is of the run's network and weights.

    Weights in torch's format have no hash before they are read; the stage looks at theirs.

    Raises:
        CalibrationError: it is not, or cannot be read.
    """
    path = config.stages["identify"].calibration
    if path is None:
        return
    from stages.identify.calibration_file import check_weights, read_calibration

    found = read_calibration(path)
    embed = config.stages["embed"]
    if found.network != embed.network:
        raise CalibrationError(
            f"calibration {path} is of {found.network}, embed.network is {embed.network}",
            hint="Give the calibration of this network, or leave it out.",
        )
    weights_hash = _hash_of(embed)
    if weights_hash is not None:
        check_weights(path, found, embed.network, weights_hash)


def _hash_of(embed: Any) -> str | None:
    """Return the hash of a run's weights; None where it cannot be told without torch."""
    if embed.network == "gei":
        from stages.embed.gei import WEIGHTS_HASH

        return WEIGHTS_HASH
    from stages.embed.shipped import shipped_weights

    weights = embed.weights or shipped_weights(embed.network)
    if weights is None or weights.suffix != ".safetensors":
        return None
    try:
        with weights.open("rb") as file:
            digest = hashlib.sha256()
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError:
        return None  # the embed stage says it better
    return digest.hexdigest()[:16]
