"""One message of each kind, filled in everywhere, and their stored form.

`tests/unit/data/messages/vN` holds header and blob of each as schema version N wrote them. Nobody
writes them again: when the version in `pipeline.messages` goes up, run this once more and keep both
folders.

    python -m tests.message_samples
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from pipeline.codec import encode
from pipeline.messages import (
    SCHEMA_VERSION,
    Bodies,
    Body,
    Embedding,
    Embeddings,
    EndOfStream,
    Frame,
    FrameHandle,
    Identities,
    Identity,
    Mask,
    People,
    Person,
    Span,
    Stamp,
    StreamStart,
    Window,
    Windows,
)

FOLDER = Path(__file__).parent / "unit" / "data" / "messages"
STAMP = Stamp("door-2", 41, 1_640_000_000, 77_000_000_001, 1_700_000_000_123_456_789, 3)
SPANS = (
    Span("source", 77_000_000_001, 77_004_000_000, 77_000_500_000),
    Span("detect", 77_005_000_000, 77_045_000_000, 77_004_800_000),
)


def _ramp(*shape: int, step: float = 0.5) -> np.ndarray:
    return (np.arange(np.prod(shape), dtype=np.float32) * np.float32(step)).reshape(shape)


def _person(track_id: int, landmarks: int) -> Person:
    inside = (np.arange(7 * 5).reshape(7, 5) % 3) == 0
    return Person(
        track_id,
        np.array([1.5, -2, 6.5, 5], np.float32),
        0.875,
        Mask.pack(inside, 1, -2),
        _ramp(17, 3),
        _ramp(landmarks, 4, step=0.125),
        cut_by_border=True,
        occluded=track_id == 9,
    )


def _body(track_id: int) -> Body:
    return Body(_person(track_id, 33), _ramp(85, step=0.25), _ramp(24, 3, step=0.0625), 0.75)


def _window() -> Window:
    return Window(
        8,
        (np.arange(2 * 64 * 44) % 251).astype(np.uint8).reshape(2, 64, 44),
        _ramp(2, 85),
        _ramp(2, 17, 3),
        np.array([1_600_000_000, 1_640_000_000], np.int64),
        np.array([40, 41], np.int64),
        0.625,
        4,
    )


def samples() -> dict[str, Any]:
    """Return the messages by the name of their file."""
    tracks = {"visible_tracks": (8, 9), "ended_tracks": (7,)}
    return {
        "stream_start": StreamStart(
            "door-2", "a film", (1920, 1080), 25.0, 1500, True, 1_700_000_000_000_000_000
        ),
        "end_of_stream": EndOfStream("door-2", 41, "broke off"),
        "frame": Frame(STAMP, handle=FrameHandle("source", 8192, 1080, 1920), spans=SPANS),
        "frame_with_pixels": Frame(
            STAMP, pixels=(np.arange(4 * 6 * 3) * 3).astype(np.uint8).reshape(4, 6, 3)
        ),
        "people": People(STAMP, (_person(8, 33), _person(9, 0)), (7,), SPANS),
        "bodies": Bodies(STAMP, (_body(8), _body(9)), (7,), SPANS),
        "windows": Windows(STAMP, (_window(),), **tracks, spans=SPANS),
        "embeddings": Embeddings(
            STAMP,
            (
                Embedding(
                    8, _ramp(6, 4), "smplgait", "0123456789abcdef", 1_600_000_000, STAMP.time_ns,
                    30, 0.5,
                ),
            ),
            **tracks,
            spans=SPANS,
        ),
        "identities": Identities(
            STAMP,
            (
                Identity(8, "known", "Änne", "p-1", 0.75, 0.001, 3, 46, True),
                Identity(9, "pending", "", "", 0.0, None, 1, 30, False),
            ),
            (7,),
            SPANS,
        ),
    }  # fmt: skip


def main() -> None:
    """Write the samples of the schema version that is in force; refuses to replace them."""
    folder = FOLDER / f"v{SCHEMA_VERSION}"
    folder.mkdir(parents=True)
    for name, message in samples().items():
        header, blob = encode(message)
        (folder / f"{name}.header").write_bytes(header)
        (folder / f"{name}.blob").write_bytes(blob)
    print(f"wrote {len(samples())} messages to {folder}")


if __name__ == "__main__":
    main()
