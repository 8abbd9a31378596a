"""Small vectors, messages and galleries for the tests of the identify stage."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pipeline.messages import Embedding, Embeddings, Stamp, StreamStart
from stages.identify import Config, build
from stages.identify.gallery import Gallery
from stages.identify.records import Sighting, SightingVector, Template
from stages.identify.sightings import SightingUpdate, add_sightings
from stages.identify.stage import IdentifyStage

NETWORK, HASH = "smplgait", "0123456789abcdef"
JPEG = b"\xff\xd8\xff\xe0" + bytes(range(256)) + b"\xff\xd9"
FRAME_NS = 33_333_333


def vector(seed: int, shape: tuple[int, int] = (8, 2)) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def at_distance(base: np.ndarray, distance: float) -> np.ndarray:
    """A vector whose mean distance per part from `base` is `distance`."""
    shift = np.zeros_like(base)
    shift[0] = distance
    return base + shift


def template(seed: int, network: str = NETWORK, weights: str = HASH, **more: object) -> Template:
    return Template(vector(seed), network, weights, **more)  # type: ignore[arg-type]


def make_gallery(path: Path, people: dict[str, int | np.ndarray]) -> Path:
    with Gallery.open(path, "create") as gallery:
        for name, seen in people.items():
            numbers = vector(seen) if isinstance(seen, int) else seen
            gallery.add_person(name, templates=[Template(numbers, NETWORK, HASH)])
    return path


def embedding(
    track: int,
    numbers: np.ndarray,
    window: int = 0,
    network: str = NETWORK,
    weights: str = HASH,
    quality: float = 0.8,
) -> Embedding:
    start = window * 8 * FRAME_NS
    return Embedding(track, numbers, network, weights, start, start + 29 * FRAME_NS, 30, quality)


def message(
    frame: int,
    seen: Sequence[Embedding] = (),
    visible: Sequence[int] | None = None,
    ended: Sequence[int] = (),
    source: str = "cam",
) -> Embeddings:
    if visible is None:
        visible = [one.track_id for one in seen]
    stamp = Stamp(source, frame, frame * FRAME_NS, 0, 0)
    return Embeddings(stamp, tuple(seen), tuple(visible), tuple(ended))


def stream(source: str = "cam", live: bool = False) -> StreamStart:
    return StreamStart(source, f"{source}.mp4", (640, 480), 30.0, 0, live, 0)


def add_sighting(
    gallery: Gallery,
    track: int,
    windows: int = 5,
    run: str = "run-1",
    run_dir: str = "",
    minutes: float | None = 60.0,
    source: str = "cam",
) -> list[np.ndarray]:
    """Write a track's sighting with one vector a window; return the vectors."""
    vectors = [vector(1000 * track + number) for number in range(windows)]
    sighting = Sighting(
        *(run, source, track, "clip.mp4", run_dir, NETWORK, HASH, 0, windows * 10**9),
        *(windows, windows * 8),
    )
    seen = tuple(
        SightingVector(one, number * 10**9, (number + 1) * 10**9, 30, 0.9)
        for number, one in enumerate(vectors)
    )
    add_sightings(gallery, [SightingUpdate(sighting, seen)], minutes)
    return vectors


def started_stage(live: bool = False, **config: object) -> IdentifyStage:
    stage = build(Config(**config))  # type: ignore[arg-type]
    stage.setup()
    stage.start(stream(live=live))
    return stage
