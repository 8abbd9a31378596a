"""The codec: what goes in comes out, and nothing else gets through."""

from __future__ import annotations

import contextlib
import dataclasses
import tracemalloc
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pipeline.codec import MAX_BLOB_BYTES, MAX_HEADER_BYTES, decode, encode
from pipeline.errors import MessageError
from pipeline.messages import (
    MAX_PEOPLE,
    Bodies,
    Body,
    Embedding,
    Embeddings,
    Frame,
    FrameHandle,
    Identities,
    Identity,
    Mask,
    People,
    Person,
    Span,
    Stamp,
    Window,
    Windows,
)

STAMP = Stamp("cam0", 7, 280_000_000, 11, 12)
finite = st.floats(-1e6, 1e6, width=32)


def floats(*shape: int) -> st.SearchStrategy[np.ndarray]:
    return hnp.arrays(np.float32, shape, elements=finite)


@st.composite
def masks(draw: st.DrawFn) -> Mask:
    inside = draw(hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9)))
    return Mask.pack(inside, draw(st.integers(-5, 5)), draw(st.integers(-5, 5)))


people = st.builds(
    Person,
    track_id=st.integers(1, 2**31),
    bbox_xyxy_px=floats(4),
    score=st.floats(0, 1),
    mask=masks(),
    keypoints_px=floats(17, 3),
    world_landmarks_m=st.one_of(floats(33, 4), floats(0, 4)),
    cut_by_border=st.booleans(),
    occluded=st.booleans(),
)
bodies = st.builds(
    Body, person=people, theta=floats(85), joints_m=floats(24, 3), quality=st.floats(0, 1)
)


@st.composite
def windows(draw: st.DrawFn) -> Window:
    s = draw(st.integers(1, 3))
    return Window(
        track_id=draw(st.integers(0, 99)),
        silhouettes=draw(hnp.arrays(np.uint8, (s, 64, 44), fill=st.just(0))),
        theta=draw(floats(s, 85)),
        keypoints_px=draw(floats(s, 17, 3)),
        times_ns=np.arange(s, dtype=np.int64),
        frame_ids=np.arange(s, dtype=np.int64),
        quality=0.5,
        left_out=draw(st.integers(0, 9)),
    )


embeddings = st.builds(
    Embedding,
    track_id=st.integers(0, 99),
    vector=floats(4, 3),
    network=st.text(max_size=9),
    weights_hash=st.just("0123456789abcdef"),
    start_ns=st.integers(0, 2**62),
    end_ns=st.integers(0, 2**62),
    frames=st.integers(1, 99),
    quality=st.floats(0, 1),
)
identities = st.builds(
    Identity,
    track_id=st.integers(0, 99),
    state=st.sampled_from(["known", "unknown", "pending"]),
    name=st.text(max_size=20),
    person_id=st.text(max_size=9),
    score=st.floats(0, 1),
    false_alarm_rate=st.none() | st.floats(0, 1),
    windows=st.integers(0, 9),
    frames=st.integers(0, 99),
    changed=st.booleans(),
)
spans = st.lists(
    st.builds(Span, st.text(max_size=5), st.integers(0, 2**62), st.integers(0, 2**62)), max_size=3
).map(tuple)


def tuples(of: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(of, max_size=3).map(tuple)


tracks = tuples(st.integers(0, 99))
messages = st.one_of(
    st.just(People(STAMP)),
    st.builds(
        Frame,
        stamp=st.just(STAMP),
        handle=st.builds(
            FrameHandle, st.just("s"), st.integers(0, 2**40), st.integers(1, 9), st.integers(1, 9)
        ),
        spans=spans,
    ),
    st.builds(People, st.just(STAMP), tuples(people), tracks, spans),
    st.builds(Bodies, st.just(STAMP), tuples(bodies), tracks, spans),
    st.builds(Windows, st.just(STAMP), tuples(windows()), tracks, tracks, spans),
    st.builds(Embeddings, st.just(STAMP), tuples(embeddings), tracks, tracks, spans),
    st.builds(Identities, st.just(STAMP), tuples(identities), tracks, spans),
)


def same(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and bool(np.array_equal(a, b))
    if dataclasses.is_dataclass(a):
        fields = dataclasses.fields(a)
        return type(a) is type(b) and all(
            same(getattr(a, f.name), getattr(b, f.name)) for f in fields
        )
    if isinstance(a, tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return bool(a == b)


@given(messages)
def test_property_round_trip(message: Any) -> None:
    header, blob = encode(message)
    assert same(decode(type(message), header, blob), message)


@given(messages, st.data())
def test_property_truncated_or_altered_never_crashes(message: Any, data: st.DataObject) -> None:
    header, blob = encode(message)
    cut = data.draw(st.integers(0, len(header)))
    noise = data.draw(st.binary(max_size=8))
    position = data.draw(st.integers(0, len(header)))
    altered = header[:position] + noise + header[position + len(noise) :]
    for bad_header, bad_blob in [
        (header[:cut], blob),
        (altered, blob),
        (header, blob[: data.draw(st.integers(0, len(blob)))]),
    ]:
        with contextlib.suppress(MessageError):
            decode(type(message), bad_header, bad_blob)


@given(st.binary(max_size=200), st.binary(max_size=64))
def test_property_random_bytes_are_refused_or_read(header: bytes, blob: bytes) -> None:
    for kind in (Frame, People, Windows, Identities):
        with contextlib.suppress(MessageError):
            decode(kind, header, blob)


def test_views_are_read_only() -> None:
    header, blob = encode(People(STAMP, (_person(),)))
    keypoints = decode(People, header, blob).people[0].keypoints_px
    with pytest.raises(ValueError, match="read-only"):
        keypoints[0, 0] = 1


def test_unknown_fields_are_passed_over_and_missing_ones_take_defaults() -> None:
    header, blob = encode(Identities(STAMP))
    fields = msgspec.msgpack.decode(header)
    fields["from_the_future"] = [1, 2]
    del fields["ended_tracks"]
    assert decode(Identities, msgspec.msgpack.encode(fields), blob).ended_tracks == ()


@pytest.mark.parametrize(
    ("array", "says"),
    [
        (["|O8", [1], 0], "not allowed"),
        (["<f4", [2**62, 2**62], 0], "too large"),
        (["<f4", [2**28, 2**28], 0], "ends beyond"),
        (["<f4", [0, 2**62], 0], "too large"),
        (["<f4", [0], 2**63], "too large"),
        (["<f4", [0, 2**28, 2**28, 2**28], 0], "People"),
        (["<f4", [2], 4], "expected float32"),
        ([["<f4"], [4], 0], "unhashable"),
        (["<f4", [-1], 0], "0 or more"),
        (["<f4", [4], -16], "0 or more"),
        (["<f4", [1, 1, 1, 1, 1], 0], "up to 4"),
        (["<f4", [True], 0], "0 or more"),
        ("<f4", "array must stand as"),
    ],
)
def test_exception_hostile_array(array: Any, says: str) -> None:
    header, blob = encode(People(STAMP, (_person(),)))
    fields = msgspec.msgpack.decode(header)
    fields["people"][0]["bbox_xyxy_px"] = array
    with pytest.raises(MessageError, match=says):
        decode(People, msgspec.msgpack.encode(fields), blob)


def test_exception_arrays_that_share_bytes() -> None:
    """Else a message of many masks could stand for many times the memory that it came in."""
    header, blob = encode(People(STAMP, (_person(), _person())))
    fields = msgspec.msgpack.decode(header)
    fields["people"][1] = fields["people"][0]
    with pytest.raises(MessageError, match="in another one"):
        decode(People, msgspec.msgpack.encode(fields), blob)


def test_exception_a_blob_of_which_little_is_used() -> None:
    header, blob = encode(People(STAMP, (_person(),)))
    assert decode(People, header, bytes(blob) + bytes(1 << 20)).people[0].track_id == 1
    with pytest.raises(MessageError, match="belong to no array"):
        decode(People, header, bytes(blob) + bytes((1 << 20) + 1024))


def test_exception_masks_of_more_pixels_than_a_frame() -> None:
    side = 1 << 13
    mask = Mask.pack(np.zeros((side, side), bool), 0, 0)
    people = tuple(dataclasses.replace(_person(), mask=mask) for _ in range(4))
    assert len(People(STAMP, people).people) == 4
    with pytest.raises(MessageError, match="pixels together"):
        People(STAMP, (*people, _person()))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("spans", b"\xdd\xff\xff\xff\xff"),
        ("people", b"\xdd\xff\xff\xff\xff"),
        ("ended_tracks", b"\xdd\xff\xff\xff\xff"),
        ("from_the_future", b"\xdd\xff\xff\xff\xff"),
        ("from_the_future", b"\xdf\xff\xff\xff\xff"),
        ("from_the_future", b"\xdb\xff\xff\xff\xff"),
        ("from_the_future", b"\x91" * 1_000_000),
        ("people", b"\x91" * 1_000_000),
        ("spans", b"\xdc\x00\x41" + b"\x80" * 65),
    ],
)
def test_exception_a_header_that_claims_more_than_it_has(field: str, value: bytes) -> None:
    """Four billion items in five bytes, or a million lists in each other: no memory is taken."""
    header, blob = encode(People(STAMP))
    fields = {
        name: msgspec.Raw(msgspec.msgpack.encode(each))
        for name, each in msgspec.msgpack.decode(header).items()
    }
    hostile = msgspec.msgpack.encode(fields | {field: msgspec.Raw(value)})
    tracemalloc.start()
    try:
        with pytest.raises(MessageError):
            decode(People, hostile, blob)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("stamp", "frame_id"), -1),
        (("stamp", "frame_id"), 2**63),
        (("stamp", "time_ns"), 2**64 - 1),
        (("stamp", "time_ns"), -(2**63)),
        (("stamp", "source_id"), "x" * 65),
        (("stamp", "source_id"), "../cam"),
        (("stamp", "source_id"), "cam0\n"),
        (("stamp", "source_id"), "\x1b[2J"),
        (("people", 0, "track_id"), -1),
        (("people", 0, "track_id"), 2**64 - 1),
        (("people", 0, "mask", "x"), 2**40),
        (("people", 0, "mask", "width"), 2**31),
        (("ended_tracks",), [-1]),
        (("ended_tracks",), [1] * 4097),
        (("spans",), [{"stage": "x", "enter_ns": 2**63, "leave_ns": 0}]),
    ],
)
def test_exception_numbers_and_names_out_of_bounds(path: tuple[Any, ...], value: Any) -> None:
    header, blob = encode(People(STAMP, (_person(),)))
    fields = place = msgspec.msgpack.decode(header)
    for part in path[:-1]:
        place = place[part]
    place[path[-1]] = value
    with pytest.raises(MessageError):
        decode(People, msgspec.msgpack.encode(fields), blob)


def test_exception_an_error_quotes_a_little_of_what_came_and_no_controls() -> None:
    header, blob = encode(Identities(STAMP))
    fields = msgspec.msgpack.decode(header)
    fields["identities"] = [{"state": "\x1b[2J" + "x" * 500_000}]
    with pytest.raises(MessageError) as caught:
        decode(Identities, msgspec.msgpack.encode(fields), blob)
    assert len(str(caught.value)) < 400 and str(caught.value).isprintable()


def test_exception_an_embedding_of_no_or_too_many_numbers() -> None:
    for shape in ((0, 4), (4, 0), (1025, 1024)):
        with pytest.raises(MessageError, match="must have 1"):
            Embedding(1, np.zeros(shape, np.float32), "n", "h", 0, 0, 1, 1.0)


def test_exception_too_many_people() -> None:
    header, blob = encode(People(STAMP, (_person(),) * (MAX_PEOPLE + 1)))
    with pytest.raises(MessageError, match="length"):
        decode(People, header, blob)


def test_exception_sizes_are_checked_before_anything_else() -> None:
    with pytest.raises(MessageError, match="exceeds the limits"):
        decode(People, bytes(MAX_HEADER_BYTES + 1), b"")

    class Huge(bytes):
        def __len__(self) -> int:
            return MAX_BLOB_BYTES + 1

    with pytest.raises(MessageError, match="exceeds the limits"):
        decode(People, b"", Huge())


def test_exception_object_arrays_are_never_sent() -> None:
    with pytest.raises(MessageError, match="cannot send"):
        encode({"a": np.array([object()])})
    with pytest.raises(MessageError, match="cannot send"):
        encode({"a": object()})


def _person() -> Person:
    return Person(
        1,
        np.zeros(4, np.float32),
        1.0,
        Mask.pack(np.ones((3, 5), bool), 0, 0),
        np.zeros((17, 3), np.float32),
        np.zeros((0, 4), np.float32),
    )
