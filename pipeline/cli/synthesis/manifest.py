"""What a set was made of: its configuration, the program's parts, and the data it rests on."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pipeline import __version__
from pipeline.cli import synthesis
from pipeline.cli.synthesis.config import SCENE_KINDS, SynthConfig
from stages import body as body_stage
from stages import human
from stages.human import body_file
from stages.human.scenes.pictures import picture_paths
from stages.human.walkers import bodies

FORMAT = "gaitstream synthetic set 1"
# What numbers pass through: another version of one may round otherwise.
LIBRARIES = ("numpy", "numba", "scipy", "opencv-contrib-python")


def manifest_of(config: SynthConfig, clips: Mapping[str, str] | None) -> dict[str, Any]:
    """Return the manifest as JSON-safe data; it names no path of the machine.

    Args:
        clips: sha256 of the motion clips by file name, where gaits were taken from such.
    """
    told = config.to_dict()
    if config.kind in SCENE_KINDS:
        told["scene"]["backgrounds"] = _pictures(config.scene.backgrounds)
    else:
        told["mocap"] = dict(clips) if clips else None
    return {
        "format": FORMAT,
        "config": told,
        "made_by": {
            "gaitstream": __version__,
            "python": platform.python_version(),
            **{name: version(name) for name in LIBRARIES},
            "code": code_digest(),
        },
        "data": {path.name: sha256_of(path) for path in data_files()},
    }


def _pictures(folder: Path | None) -> dict[str, str] | None:
    """Return sha256 by file name of the pictures that stand in for a place."""
    if folder is None:
        return None
    return {path.name: sha256_of(path) for path in picture_paths(folder)}


def data_files() -> list[Path]:
    """Return the shipped files that people are made of."""
    folder = bodies.BODIES_FILE.parent
    return [
        body_file.OPEN_BODY_PATH,
        *sorted(p for p in folder.iterdir() if p.suffix in (".npz", ".json")),
    ]


def code_digest() -> str:
    """Return a text that another state of the code that makes people would not have."""
    digest = hashlib.sha256()
    for package in (human, body_stage, synthesis):
        root = Path(str(package.__file__)).parent
        for path in sorted(root.rglob("*.py")):
            digest.update(f"{path.relative_to(root).as_posix()} {sha256_of(path)}\n".encode())
    return digest.hexdigest()


def sha256_of(path: Path) -> str:
    """Return a file's digest."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def fingerprint(manifest: Mapping[str, Any]) -> str:
    """Return a text that another set would not have."""
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()
