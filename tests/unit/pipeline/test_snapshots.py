"""Snapshots in memory: the newest whole one is read, whenever the writer was killed."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.errors import ResourceError
from pipeline.transport import snapshots
from pipeline.transport.snapshots import HALF_BYTES, SnapshotFile
from pipeline.transport.store import create_store_fd


@pytest.fixture
def fd() -> Iterator[int]:
    made = create_store_fd("snapshots")
    yield made
    os.close(made)


def test_golden_the_newest_is_found_again(fd: int) -> None:
    assert SnapshotFile(fd).latest() is None
    first = SnapshotFile(fd)
    for content in (b"one", b"two" * 1000, b"", b"four"):
        first.write(content)
        assert first.latest() == content == SnapshotFile(fd).latest()
    again = SnapshotFile(fd)
    again.write(b"five")
    assert SnapshotFile(fd).latest() == b"five"


@given(st.binary(min_size=1, max_size=300), st.binary(min_size=1, max_size=300), st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
def test_property_killed_while_writing_leaves_the_one_before(
    old: bytes, new: bytes, data: st.DataObject
) -> None:
    made = create_store_fd("snapshots")
    try:
        file = SnapshotFile(made)
        file.write(b"older")
        file.write(old)
        steps: list[tuple[bytes, int]] = []
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(snapshots, "_write_all", lambda _fd, c, at: steps.append((bytes(c), at)))
            file.write(new)
        whole = sum(len(content) for content, _ in steps)
        left = data.draw(st.integers(0, whole))
        for content, at in steps:
            part = content[: max(0, left)]
            os.pwrite(made, part, at)
            left -= len(content)
        found = SnapshotFile(made).latest()
        assert found == (new if left >= 0 else old)
    finally:
        os.close(made)


def test_exception_too_large(fd: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshots, "HALF_BYTES", 100)
    with pytest.raises(ResourceError, match="cannot be kept"):
        SnapshotFile(fd).write(bytes(200))
    assert HALF_BYTES > 100
