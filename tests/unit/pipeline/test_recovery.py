"""What a stage's runner goes on from, and how often it may be started again."""

from __future__ import annotations

import os

import numpy as np
import pytest

from pipeline.messages import Frame, Stamp
from pipeline.recovery import freeze, thaw
from pipeline.restarts import RestartBudget
from pipeline.transport import FrameReader, FrameStore
from pipeline.transport.snapshots import Mark, SnapshotFile
from pipeline.transport.store import create_store_fd

STAMP = Stamp("cam", 3, 40, 50, 60)


def test_golden_so_many_restarts_within_so_long() -> None:
    budget = RestartBudget(most=3, within_s=10)
    assert [budget.take("a", now) for now in (0, 1, 2, 3)] == [1, 2, 3, None]
    assert budget.take("b", 3) == 1, "each stage has its own"
    assert budget.take("a", 10.5) == 3, "the first is forgotten by now"
    assert budget.take("a", 10.6) is None


def test_golden_a_mark_says_what_was_being_worked_on() -> None:
    fd = create_store_fd("marks")
    try:
        ours = SnapshotFile(fd)
        assert ours.left_mark() is None
        ours.mark(2, 17, 1)
        ours.write(b"state")
        assert SnapshotFile(fd).left_mark() == Mark(2, 17, 1)
        ours.mark(0, 0, 0)
        assert SnapshotFile(fd).left_mark() is None
        assert SnapshotFile(fd).latest() == b"state"
    finally:
        os.close(fd)


def test_frames_are_kept_without_their_pixels() -> None:
    fd = create_store_fd("frames")
    try:
        store = FrameStore("source", fd, 1 << 20)
        slot = store.allocate(48, 64)
        assert slot is not None
        handle, pixels = slot
        pixels[...] = 7
        reader = FrameReader({"source": fd})
        frame = Frame(STAMP, handle, reader.view(handle))
        kept = freeze({"waiting": [frame], "other": np.arange(3)}, frames=True)
        assert len(kept) < 1000 < pixels.nbytes
        again = thaw(kept, FrameReader({"source": fd}).view)
        (found,) = again["waiting"]
        assert (found.stamp, found.handle) == (STAMP, handle)
        assert (found.pixels == 7).all() and not found.pixels.flags.writeable
    finally:
        os.close(fd)


def test_a_store_goes_on_with_what_is_in_flight() -> None:
    fd = create_store_fd("frames")
    try:
        store = FrameStore("source", fd, 10 * 48 * 64 * 3)
        slots = [store.allocate(48, 64) for _ in range(4)]
        handles = [slot[0] for slot in slots if slot is not None]
        store.free(handles[1])
        again = FrameStore("source", fd, 10 * 48 * 64 * 3)
        again.take_up([handles[0], handles[2], handles[3]])
        assert again.frames_in_flight == 3
        slot = again.allocate(48, 64)
        assert slot is not None and slot[0].offset == handles[1].offset, "only what is free"
        for handle in (handles[0], handles[2], handles[3], slot[0]):
            again.free(handle)
        with pytest.raises(KeyError):
            again.free(handles[0])
    finally:
        os.close(fd)
