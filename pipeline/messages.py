"""Every message that travels between stages.

Frozen dataclasses, checked when they are made. Rules for changing them: a field is only ever
added, with a default; a meaning never changes; `tests/unit/data/messages` keeps a stored sample of
every schema version that a test still reads.

Conventions: times in nanoseconds (`_ns`), boxes `x1, y1, x2, y2` in pixels of the original frame
(`_xyxy_px`), sizes width then height (`_wh`), lengths in metres (`_m`), images BGR uint8.
`time_ns` is the recording's own clock, counted from its first frame; `capture_ns` is the host's
monotonic clock at the moment a frame came in. Decisions depend on `time_ns` alone, so that a replay
gives the same answer every time; latency is told from `capture_ns`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from msgspec import Meta

from pipeline.errors import MessageError

SCHEMA_VERSION = 1
MAX_PEOPLE = 256
MAX_SIDE_PX = 16_384
WINDOW_HEIGHT, WINDOW_WIDTH = 64, 44

# Fits an int64 with room for a sum: 146 years in nanoseconds.
MAX_NUMBER = 1 << 62
MAX_SPANS = 64
MAX_ENDED_TRACKS = 4096
# Of all masks of a frame together: one of the largest size, or 32 of 4K.
MAX_MASK_PIXELS = MAX_SIDE_PX * MAX_SIDE_PX
MAX_EMBEDDING = 1 << 20

# What these bounds say is checked when a message comes in.
Name = Annotated[str, Meta(max_length=256)]
SourceId = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"\A[\w.-]+\Z")]
Number = Annotated[int, Meta(ge=0, le=MAX_NUMBER)]
Time = Annotated[int, Meta(ge=-MAX_NUMBER, le=MAX_NUMBER)]
Place = Annotated[int, Meta(ge=-(1 << 20), le=1 << 20)]
Side = Annotated[int, Meta(ge=0, le=MAX_SIDE_PX)]
Text = Annotated[str, Meta(max_length=4096)]


def check_array(
    what: str, array: np.ndarray, dtype: str, shape: tuple[int | None, ...]
) -> np.ndarray:
    """Return `array` unchanged if it has `dtype` and `shape` (None stands for any length).

    Raises:
        MessageError: naming what was expected and what came.
    """
    fits = isinstance(array, np.ndarray) and array.dtype == np.dtype(dtype)
    if fits:
        fits = len(array.shape) == len(shape) and all(
            want is None or want == got for want, got in zip(shape, array.shape, strict=True)
        )
    if not fits:
        got = (
            f"{array.dtype}{list(array.shape)}"
            if isinstance(array, np.ndarray)
            else type(array).__name__
        )
        want = f"{dtype}{['*' if side is None else side for side in shape]}"
        raise MessageError(f"{what}: expected {want}, got {got}")
    return array


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise MessageError(message)


@dataclass(frozen=True, slots=True)
class Span:
    """When a message came into a stage and left it, on the host's monotonic clock.

    Attributes:
        enter_ns: the stage began with it; of a source, when the picture came in.
        leave_ns: the stage was done with it.
        ready_ns: since when nothing else kept the stage from taking it, 0 if unknown. What lies
            between the stage before and this moment is waiting for the stage; what lies between
            the later of the two and `enter_ns` is transport. Of a source: when the picture was
            taken up; a live one's newest picture waits until then.
    """

    stage: Name
    enter_ns: Time
    leave_ns: Time
    ready_ns: Time = 0


Spans = Annotated[tuple[Span, ...], Meta(max_length=MAX_SPANS)]


@dataclass(frozen=True, slots=True)
class Stamp:
    """Which moment of which source a message is about.

    `dropped` is how many frames a live source has had to leave out before this one.
    """

    source_id: SourceId
    frame_id: Number
    time_ns: Time
    capture_ns: Time
    capture_unix_ns: Time
    dropped: Number = 0

    def __post_init__(self) -> None:
        _require(self.frame_id >= 0, f"frame_id must be 0 or more, got {self.frame_id}")

    def __str__(self) -> str:
        return f"source {self.source_id}, frame {self.frame_id} ({self.time_ns / 1e9:.3f} s)"


@dataclass(frozen=True, slots=True)
class StreamStart:
    """A source begins. Sent once, before its first frame.

    Attributes:
        label: the address as shown to people, without credentials.
        rate_hz: nominal frames per second, 0 when unknown.
        frames_expected: length of a recording in frames, 0 when unknown or live.
    """

    source_id: SourceId
    label: Text
    size_wh: tuple[Side, Side]
    rate_hz: Annotated[float, Meta(ge=0, le=1e9)]
    frames_expected: Number
    live: bool
    start_unix_ns: Time


@dataclass(frozen=True, slots=True)
class EndOfStream:
    """A source has ended. Sent once, after its last frame, and acknowledged by every stage.

    Attributes:
        last_frame_id: the newest frame that was sent, -1 for none.
        reason: why it ended, "" when the recording was simply over.
    """

    source_id: SourceId
    last_frame_id: Annotated[int, Meta(ge=-1, le=MAX_NUMBER)]
    reason: Text = ""


@dataclass(frozen=True, slots=True)
class FrameHandle:
    """Where a frame's pixels lie in its source's frame store on this host."""

    store: Name
    offset: Number
    height: Side
    width: Side

    def __post_init__(self) -> None:
        _require(
            0 < self.height <= MAX_SIDE_PX and 0 < self.width <= MAX_SIDE_PX and self.offset >= 0,
            f"frame handle out of range: {self.width}x{self.height} at byte {self.offset}",
        )


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One picture: uint8 [h,w,3] BGR, as `pixels` here or as a `handle` into the frame store."""

    stamp: Stamp
    handle: FrameHandle | None = None
    pixels: np.ndarray | None = None
    spans: Spans = ()

    def __post_init__(self) -> None:
        _require(
            self.handle is not None or self.pixels is not None,
            "a frame needs pixels or a handle, got neither",
        )
        if self.pixels is not None:
            check_array("frame pixels", self.pixels, "uint8", (None, None, 3))
            height, width, _ = self.pixels.shape
            _require(
                0 < height <= MAX_SIDE_PX and 0 < width <= MAX_SIDE_PX,
                f"frame size must be 1..{MAX_SIDE_PX} a side, got {width}x{height}",
            )

    @property
    def size_wh(self) -> tuple[int, int]:
        """Width and height in pixels."""
        if self.pixels is not None:
            return self.pixels.shape[1], self.pixels.shape[0]
        assert self.handle is not None
        return self.handle.width, self.handle.height


@dataclass(frozen=True, slots=True, eq=False)
class Mask:
    """A person's mask, cut to its own box and packed eight pixels to a byte.

    Attributes:
        x, y: left and top edge in the frame, pixels; may be negative beyond the border.
        width, height: size of the cut-out in pixels.
        bits: uint8 [ceil(width*height/8)], row by row, most significant bit first.
    """

    x: Place
    y: Place
    width: Side
    height: Side
    bits: np.ndarray

    def __post_init__(self) -> None:
        _require(
            0 < self.width <= MAX_SIDE_PX and 0 < self.height <= MAX_SIDE_PX,
            f"mask size must be 1..{MAX_SIDE_PX}, got {self.width}x{self.height}",
        )
        check_array("mask bits", self.bits, "uint8", ((self.width * self.height + 7) // 8,))

    @classmethod
    def pack(cls, inside: np.ndarray, x: int, y: int) -> Mask:
        """Pack bool or uint8 [h,w] (non-zero is inside) whose corner lies at (x, y)."""
        height, width = inside.shape
        return cls(x, y, width, height, np.packbits(inside.astype(bool, copy=False)))

    def unpack(self) -> np.ndarray:
        """Return bool [h,w]."""
        flat = np.unpackbits(self.bits, count=self.width * self.height)
        return flat.reshape(self.height, self.width).view(bool)


@dataclass(frozen=True, slots=True, eq=False)
class Person:
    """One person in one frame.

    Attributes:
        track_id: the tracker's number, unique within the source, never used twice.
        bbox_xyxy_px: float32 [4].
        score: how sure the detector is, 0..1.
        mask: who of these pixels is this person.
        keypoints_px: float32 [17,3], COCO order: x, y in frame pixels, confidence 0..1.
        world_landmarks_m: float32 [33,4], MediaPipe order: x right, y down, z away from the
            camera, metres from the hip centre, visibility 0..1; [0,4] if the variant has none.
        cut_by_border: the frame's edge cuts the person.
        occluded: another person covers part of this one, so the mask is not to be trusted.
    """

    track_id: Number
    bbox_xyxy_px: np.ndarray
    score: float
    mask: Mask
    keypoints_px: np.ndarray
    world_landmarks_m: np.ndarray
    cut_by_border: bool = False
    occluded: bool = False

    def __post_init__(self) -> None:
        check_array("person.bbox_xyxy_px", self.bbox_xyxy_px, "float32", (4,))
        check_array("person.keypoints_px", self.keypoints_px, "float32", (17, 3))
        landmarks = 33 if len(self.world_landmarks_m) else 0
        check_array("person.world_landmarks_m", self.world_landmarks_m, "float32", (landmarks, 4))


PeopleList = Annotated[tuple[Person, ...], Meta(max_length=MAX_PEOPLE)]
TrackIds = Annotated[tuple[Number, ...], Meta(max_length=MAX_ENDED_TRACKS)]


def _check_masks(people: Iterable[Person]) -> None:
    """Unpacked, a mask takes eight times the memory that it came in."""
    pixels = sum(person.mask.width * person.mask.height for person in people)
    _require(
        pixels <= MAX_MASK_PIXELS,
        f"the masks of a frame must have up to {MAX_MASK_PIXELS} pixels together, got {pixels}",
    )


@dataclass(frozen=True, slots=True, eq=False)
class People:
    """Who was found in one frame; `ended_tracks` will not come back."""

    stamp: Stamp
    people: PeopleList = ()
    ended_tracks: TrackIds = ()
    spans: Spans = ()

    def __post_init__(self) -> None:
        _check_masks(self.people)


@dataclass(frozen=True, slots=True, eq=False)
class Body:
    """A person with a body.

    Attributes:
        theta: float32 [85]: camera 3 (scale, tx, ty), pose 72 (24 joints x axis-angle), shape 10.
        joints_m: float32 [24,3], SMPL's joints, metres, camera axes (x right, y down, z away).
        quality: 0 (made up) to 1 (every landmark seen).
    """

    person: Person
    theta: np.ndarray
    joints_m: np.ndarray
    quality: float

    def __post_init__(self) -> None:
        check_array("body.theta", self.theta, "float32", (85,))
        check_array("body.joints_m", self.joints_m, "float32", (24, 3))


@dataclass(frozen=True, slots=True, eq=False)
class Bodies:
    """The people of one frame, each with a body."""

    stamp: Stamp
    bodies: Annotated[tuple[Body, ...], Meta(max_length=MAX_PEOPLE)] = ()
    ended_tracks: TrackIds = ()
    spans: Spans = ()

    def __post_init__(self) -> None:
        _check_masks(body.person for body in self.bodies)


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """A stretch of one track, ready for a gait network. s frames, oldest first.

    Attributes:
        silhouettes: uint8 [s,64,44], aligned as OpenGait does.
        theta: float32 [s,85].
        keypoints_px: float32 [s,17,3].
        times_ns: int64 [s], the recording's clock.
        frame_ids: int64 [s].
        quality: mean body quality of the frames, 0..1.
        left_out: frames of the stretch that were unfit and are not in it.
    """

    track_id: Number
    silhouettes: np.ndarray
    theta: np.ndarray
    keypoints_px: np.ndarray
    times_ns: np.ndarray
    frame_ids: np.ndarray
    quality: float
    left_out: Number

    def __post_init__(self) -> None:
        length = len(self.silhouettes)
        _require(0 < length <= 1024, f"window length must be 1..1024 frames, got {length}")
        check_array(
            "window.silhouettes",
            self.silhouettes,
            "uint8",
            (length, WINDOW_HEIGHT, WINDOW_WIDTH),
        )
        check_array("window.theta", self.theta, "float32", (length, 85))
        check_array("window.keypoints_px", self.keypoints_px, "float32", (length, 17, 3))
        check_array("window.times_ns", self.times_ns, "int64", (length,))
        check_array("window.frame_ids", self.frame_ids, "int64", (length,))


@dataclass(frozen=True, slots=True, eq=False)
class Windows:
    """The windows that became complete with one frame: often none."""

    stamp: Stamp
    windows: Annotated[tuple[Window, ...], Meta(max_length=MAX_PEOPLE)] = ()
    visible_tracks: TrackIds = ()
    ended_tracks: TrackIds = ()
    spans: Spans = ()


@dataclass(frozen=True, slots=True, eq=False)
class Embedding:
    """What a gait network makes of a window.

    Attributes:
        vector: float32 [c,p]: c numbers for each of p body parts.
        network: the network's name.
        weights_hash: first 16 hex digits of the SHA-256 of its weights; vectors of different
            hashes are never compared.
        start_ns, end_ns: the window's time span on the recording's clock.
        frames: frames in the window.
    """

    track_id: Number
    vector: np.ndarray
    network: Name
    weights_hash: Name
    start_ns: Time
    end_ns: Time
    frames: Number
    quality: float

    def __post_init__(self) -> None:
        check_array("embedding.vector", self.vector, "float32", (None, None))
        _require(
            0 < self.vector.size <= MAX_EMBEDDING,
            f"embedding.vector must have 1..{MAX_EMBEDDING} numbers, got {self.vector.size}",
        )


@dataclass(frozen=True, slots=True, eq=False)
class Embeddings:
    """The embeddings of one frame's windows."""

    stamp: Stamp
    embeddings: Annotated[tuple[Embedding, ...], Meta(max_length=MAX_PEOPLE)] = ()
    visible_tracks: TrackIds = ()
    ended_tracks: TrackIds = ()
    spans: Spans = ()


IdentityState = Literal["known", "unknown", "pending"]


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a track is, as far as can be told at this frame.

    Attributes:
        state: `known` (name is set), `unknown` (looked at, nobody in the gallery),
            `pending` (too little seen to say).
        person_id: the gallery's id, "" unless known.
        score: similarity to the best person of the gallery, 0..1, 0 when nothing was compared.
        false_alarm_rate: how often a stranger would score this high; None without calibration.
        windows, frames: the evidence so far.
        changed: this differs from what was last said of the track.
    """

    track_id: Number
    state: IdentityState
    name: Name
    person_id: Name
    score: float
    false_alarm_rate: float | None
    windows: Number
    frames: Number
    changed: bool


@dataclass(frozen=True, slots=True, eq=False)
class Identities:
    """What is to be said about the tracks of one frame that had new evidence or ended."""

    stamp: Stamp
    identities: Annotated[tuple[Identity, ...], Meta(max_length=MAX_PEOPLE)] = ()
    ended_tracks: TrackIds = ()
    spans: Spans = ()


@dataclass(frozen=True, slots=True)
class Release:
    """Not sent anywhere: a stage that holds frames tells its runner that it is done with one."""

    source_id: SourceId
    frame_id: int


Message = Frame | People | Bodies | Windows | Embeddings | Identities
Control = StreamStart | EndOfStream
Output = Message | Release
