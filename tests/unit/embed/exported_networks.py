"""Exports of seeded networks, each made once for all tests of a run."""

from __future__ import annotations

import atexit
import tempfile
from functools import cache
from pathlib import Path

from embed_clips import network_of

from stages.embed.networks.catalogue import CATALOGUE
from stages.embed.networks.interface import GaitNetwork
from stages.embed.runtimes.exported_files import Wanted, stem_of
from stages.embed.runtimes.onnx_export import Export, Precision, export_onnx

WEIGHTS = Path("w.safetensors")
WEIGHTS_HASH = "0123456789abcdef"
# Every network, and those with a body branch also without bodies.
VARIANTS = [
    (name, use_smpl)
    for name in sorted(CATALOGUE)
    for use_smpl in ((True, False) if network_of(name).needs_no_bodies else (True,))
]


@cache
def network(name: str) -> GaitNetwork:
    """The network that `export_of` exports."""
    return network_of(name)


def export_of(name: str, use_smpl: bool = True, precision: Precision = "float32") -> Export:
    """The export of `network(name)`. Not to be changed: copy the files."""
    return _export(name, use_smpl, precision)


@cache
def _export(name: str, use_smpl: bool, precision: Precision) -> Export:
    folder = Path(tempfile.mkdtemp(dir=_root()))
    stem = stem_of(WEIGHTS, precision, use_smpl)
    return export_onnx(
        network(name),
        folder,
        stem,
        weights_hash=WEIGHTS_HASH,
        use_smpl=use_smpl,
        precision=precision,
    )


def wanted(name: str, use_smpl: bool = True, precision: Precision = "float32") -> Wanted:
    """What `export_of` exported."""
    return Wanted(name, WEIGHTS_HASH, precision, use_smpl)


@cache
def _root() -> str:
    root = tempfile.TemporaryDirectory(prefix="gaitstream-exports-")
    atexit.register(root.cleanup)
    return root.name
