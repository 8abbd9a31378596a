"""What a gallery holds, as frozen dataclasses that check themselves when they are made."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

import numpy as np

from pipeline.errors import GalleryError

MAX_NAME_CHARS = 120
MAX_TEXT_CHARS = 4096
MAX_VECTOR_NUMBERS = 1 << 20
# Squares of such numbers still sum up in float32; what a network makes is near 1.
MAX_ABSOLUTE = 1e6
MAX_THUMBNAIL_BYTES = 1 << 20
MAX_INTEGER = 2**63 - 1
UNTRAINED = "untrained"
# Line feed, and the joiners without which Persian and Indic names cannot be written.
_WANTED = "\n\u200c\u200d"
# The other two answers of `Identity.state`: a person of that name could not be told from them.
RESERVED_NAMES = frozenset({"unknown", "pending"})


def is_trained(weights_hash: str) -> bool:
    """Say whether vectors with this hash may be compared: "" and `untrained...` may not."""
    return bool(weights_hash) and not weights_hash.startswith(UNTRAINED)


def clean_text(text: str, limit: int = MAX_TEXT_CHARS) -> str:
    """Return `text` without control characters (they would reach a terminal), cut to `limit`."""
    kept = (
        char
        for char in unicodedata.normalize("NFC", text)
        if char in _WANTED or unicodedata.category(char) not in {"Cc", "Cf", "Cs", "Zl", "Zp"}
    )
    return "".join(kept).strip()[:limit]


def clean_name(name: str) -> str:
    """Return a person's name in one form: NFC, single spaces, no control characters.

    Raises:
        GalleryError: for an empty, too long or reserved name.
    """
    cleaned = " ".join(clean_text(name, MAX_TEXT_CHARS).split())
    if not name_key(cleaned):
        raise GalleryError("a name is empty", hint="give at least one visible character")
    if len(cleaned) > MAX_NAME_CHARS:
        raise GalleryError(
            f"a name may have {MAX_NAME_CHARS} characters, this one has {len(cleaned)}",
            hint="put the rest into the note",
        )
    if name_key(cleaned) in RESERVED_NAMES:
        raise GalleryError(
            f"the name {cleaned!r} is one of the program's own answers",
            hint=f"choose another than {', '.join(sorted(RESERVED_NAMES))}",
        )
    return cleaned


def name_key(name: str) -> str:
    """Return the form by which two names are the same: case, width and joiners do not matter."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
    visible = "".join(char for char in folded if unicodedata.category(char) != "Cf")
    return " ".join(visible.split())


def check_vector(vector: np.ndarray) -> np.ndarray:
    """Return `vector` as a contiguous float32 [c,p].

    Raises:
        GalleryError: for another dtype or shape, or for numbers that cannot be compared.
    """
    if vector.dtype != np.float32 or vector.ndim != 2 or not 0 < vector.size <= MAX_VECTOR_NUMBERS:
        raise GalleryError(
            f"a template must be float32 [c,p] with at most {MAX_VECTOR_NUMBERS} numbers, "
            f"got {vector.dtype}{list(vector.shape)}"
        )
    if not is_comparable(vector):
        raise GalleryError(
            f"a template holds numbers that are not finite or above {MAX_ABSOLUTE:g}",
            hint="enrol this person again",
        )
    return np.ascontiguousarray(vector)


def is_comparable(vector: np.ndarray) -> bool:
    """Say whether every number is finite and small enough for float32 distances."""
    return bool(np.isfinite(vector).all() and np.abs(vector).max(initial=0.0) <= MAX_ABSOLUTE)


def weight_of(frames: int, quality: float) -> float:
    """Return how much a window counts: its frames times its quality (0..1, at least 0.05).

    The floor keeps a track that was never seen well from having no answer at all. (Its place in
    `max` makes it the answer for NaN, too.)
    """
    return max(frames, 1) * min(max(0.05, quality), 1.0)


def check_thumbnail(jpeg: bytes) -> bytes:
    """Return `jpeg` unchanged.

    Raises:
        GalleryError: if it is not a JPEG or larger than `MAX_THUMBNAIL_BYTES`.
    """
    if not jpeg.startswith(b"\xff\xd8\xff"):
        raise GalleryError("a thumbnail must be a JPEG, this is another kind of file")
    if len(jpeg) > MAX_THUMBNAIL_BYTES:
        raise GalleryError(
            f"a thumbnail may have {MAX_THUMBNAIL_BYTES} bytes, this one has {len(jpeg)}"
        )
    return jpeg


def _check_count(what: str, value: int) -> None:
    if not 0 <= value <= MAX_INTEGER:
        raise GalleryError(f"{what} must be 0..{MAX_INTEGER}, got {value}")


def _check_origin(network: str, weights_hash: str, quality: float) -> None:
    if not network or not is_trained(weights_hash):
        raise GalleryError(
            f"vectors of {network or 'an unnamed network'} without trained weights "
            f"(hash {weights_hash!r}) mean nothing and are not stored",
            hint="give the network its weights and enrol again",
        )
    if not 0.0 <= quality <= 1.0:
        raise GalleryError(f"quality must be 0..1, got {quality}")


@dataclass(frozen=True, slots=True)
class Person:
    """One person of the gallery, without the heavy parts. Times in Unix nanoseconds."""

    id: str
    name: str
    note: str
    consent: str
    created_unix_ns: int
    updated_unix_ns: int
    templates: int
    has_thumbnail: bool


@dataclass(frozen=True, slots=True, eq=False)
class Template:
    """One vector that stands for a person.

    Attributes:
        vector: float32 [c,p], as `Embedding.vector`.
        source_label: where it was seen, as shown to people.
        frames: frames behind it.
        quality: 0..1.
        created_unix_ns: 0 for now.
    """

    vector: np.ndarray
    network: str
    weights_hash: str
    source_label: str = ""
    frames: int = 0
    quality: float = 1.0
    created_unix_ns: int = 0

    def __post_init__(self) -> None:
        check_vector(self.vector)
        _check_origin(self.network, self.weights_hash, self.quality)
        _check_count("frames", self.frames)
        _check_count("created_unix_ns", self.created_unix_ns)


@dataclass(frozen=True, slots=True, eq=False)
class TemplateSet:
    """All templates that may be compared with one another.

    Attributes:
        owners: person id of each row, in ascending order.
        vectors: float32 [m,c,p].
    """

    network: str
    weights_hash: str
    owners: tuple[str, ...]
    vectors: np.ndarray


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """The gallery at one moment: `revision` tells whether it has changed since."""

    revision: int
    names: dict[str, str]
    sets: tuple[TemplateSet, ...]


@dataclass(frozen=True, slots=True, eq=False)
class SightingVector:
    """One window of a track: float32 [c,p], its time on the recording's clock, its weight."""

    vector: np.ndarray
    start_ns: int
    end_ns: int
    frames: int
    quality: float


@dataclass(frozen=True, slots=True)
class Sighting:
    """A track that was seen in a run. It has no name until somebody gives it one.

    Attributes:
        start_ns, end_ns: on the recording's clock.
        windows, frames: how much was seen of it; not every window's vector is kept.
        run_dir: the run's folder; `<run_dir>/thumbnails/<track_id>.jpg` may show the track.
        person_id: to whom it was promoted, "" for nobody.
        created_unix_ns, expires_unix_ns: when it was written and when it is deleted; None: never.
    """

    run_id: str
    source_id: str
    track_id: int
    source_label: str
    run_dir: str
    network: str
    weights_hash: str
    start_ns: int
    end_ns: int
    windows: int
    frames: int
    person_id: str = ""
    created_unix_ns: int = 0
    expires_unix_ns: int | None = None

    @property
    def length_s(self) -> float:
        """From the first window's start to the last one's end, in seconds."""
        return (self.end_ns - self.start_ns) / 1e9
