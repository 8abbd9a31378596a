"""The gait networks in the real program: stored silhouettes, replays, exported files.

The weights are drawn at random: what is tested is the way through the program, not the names.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from stages.embed.checkpoint import save_network
from stages.embed.networks.catalogue import CATALOGUE, build_network
from tests.system.conftest import CLIP_B, Program, summary_of

# The way through the program is the same for narrow networks, and shorter.
FEW = {"channels": [8, 16, 16], "out_channels": 16}
NARROW: dict[str, dict[str, Any]] = {
    "smplgait": FEW,
    "gaitgln": {**FEW, "lateral_channels": 16},
    "joined": {
        "members": [
            {"network": "smplgait", "config": FEW},
            {"network": "smplrows", "config": {}},
        ]
    },
}
SHORT = ("--source", CLIP_B, "--start", 2, "--end", 5)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A file of each network."""
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(7)
    files = {name: folder / f"{name}.safetensors" for name in CATALOGUE}
    for name, path in files.items():
        save_network(path, build_network(name, NARROW.get(name, {})))
    return files


def vectors_of(path: Path) -> dict[str, np.ndarray]:
    """Vectors by name."""
    with np.load(path, allow_pickle=False) as file:
        return dict(zip(file["names"].tolist(), file["embeddings"], strict=True))


def types_of(events: Path) -> list[str]:
    """What happened, in order."""
    return [json.loads(line)["type"] for line in events.read_text(encoding="utf-8").splitlines()]


@pytest.mark.slow
def test_every_network_embeds_what_replay_saved(
    program: Program, tmp_path: Path, weights: dict[str, Path]
) -> None:
    assert program.run("replay", *SHORT, "--out", tmp_path / "o", "--save-silhouettes") == 0
    saved = tmp_path / "o" / "silhouettes"
    tracks = sorted(folder.name for folder in saved.iterdir())
    for name, path in weights.items():
        out = tmp_path / f"{name}.npz"
        run = ("embed", "--silhouettes", saved, "--out", out, "--network", name, "--weights", path)
        assert program.run(*run) == 0, program.output
        vectors = vectors_of(out)
        assert sorted(vectors) == tracks and all(np.isfinite(v).all() for v in vectors.values())
    for folder in saved.iterdir():
        (folder / "smpls.npy").unlink()
    run = ("embed", "--silhouettes", saved, "--out", tmp_path / "n.npz", "--network", "smplgait")
    run = (*run, "--weights", weights["smplgait"])
    assert program.run(*run) == 1
    assert "--no-smpl" in program.output
    assert program.run(*run, "--no-smpl") == 0, program.output


@pytest.mark.slow
def test_replay_streams_a_network_and_repeats_itself(
    program: Program, tmp_path: Path, weights: dict[str, Path]
) -> None:
    gallery = ("--gallery", tmp_path / "people.db")
    network = ("--set", "embed.network=smplgait", "--set", f"embed.weights={weights['smplgait']}")
    learn = ("enroll", *SHORT, *network, *gallery, "--name", "Ann", "--track", 1)
    assert program.run(*learn) == 0, program.output
    for name in ("one", "two", "nothing_kept"):
        kept = ("--set", f"embed.cache_mb={0 if name == 'nothing_kept' else 64}")
        run = ("replay", *SHORT, *network, *gallery, *kept, "--no-video", "--out", tmp_path / name)
        assert program.run(*run) == 0, program.output
    one, two, fresh = (
        (tmp_path / name / "events.jsonl") for name in ("one", "two", "nothing_kept")
    )
    assert one.read_bytes() == two.read_bytes()
    assert types_of(one) == types_of(fresh)
    report = summary_of(tmp_path / "one")["stages"]["embed"]
    assert report["frames_reused"] > report["frames_computed"] > 0


@pytest.mark.slow
def test_an_exported_network_is_preferred_and_equal(
    program: Program, tmp_path: Path, weights: dict[str, Path]
) -> None:
    name = "resgcn" if "resgcn" in weights else "smplgait"
    walk = tmp_path / "walks" / "ann"
    walk.mkdir(parents=True)
    rng = np.random.default_rng(4)
    np.save(walk / "sils.npy", rng.integers(0, 256, (20, 64, 64), dtype=np.uint8))
    np.save(walk / "smpls.npy", rng.normal(0, 0.5, (20, 85)).astype(np.float32))
    np.save(walk / "keypoints.npy", rng.uniform(1, 200, (20, 17, 3)).astype(np.float32))
    network = ("--network", name, "--weights", weights[name])
    run = ("embed", "--silhouettes", walk.parent, *network, "--out")
    assert program.run(*run, tmp_path / "o.npz", "--runtime", "onnx") == 2, program.output
    assert "run_pipeline.py export" in program.output
    assert program.run("export", *network) == 0, program.output
    assert program.run(*run, tmp_path / "torch.npz", "--runtime", "torch") == 0, program.output
    assert program.run(*run, tmp_path / "auto.npz") == 0, program.output
    with np.load(tmp_path / "auto.npz", allow_pickle=False) as file:
        assert str(file["runtime"]).startswith("onnxruntime")
    one, other = (vectors_of(tmp_path / f"{way}.npz")["ann"] for way in ("torch", "auto"))
    assert np.abs(one - other).max() <= 1e-4 * np.abs(one).max()
