"""The weights that come with the program: one file a network, named after it."""

from __future__ import annotations

from pathlib import Path

SHIPPED_WEIGHTS = Path(__file__).parent / "shipped"


def shipped_weights(network: str) -> Path | None:
    """Return the file of a network's shipped weights, None if none ship for it."""
    path = SHIPPED_WEIGHTS / f"{network}.safetensors"
    return path if path.is_file() else None
