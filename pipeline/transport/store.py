"""Pixels in shared memory: one store per source, written by the source, read by everyone.

The memory is a `memfd`: it has no name in the file system, so nothing can be left behind, not even
after kill -9, and the size of /dev/shm (64 MB in many containers) does not limit it. The supervisor
makes it and hands the descriptor to each stage. Pages are reserved before they are written
(`posix_fallocate`), so a lack of memory is an error here and not a bus error later.

Space is given first-fit, so the store's footprint is what is really in flight. A frame's space is
taken until every reader has acknowledged the frame.
"""

from __future__ import annotations

import contextlib
import mmap
import os
from collections.abc import Iterable

import numpy as np
import psutil

from pipeline.errors import MessageError, ResourceError
from pipeline.messages import FrameHandle

PAGE_BYTES = 4096
MIN_FRAMES = 4
MEMORY_SHARE = 0.5
MADV_POPULATE_WRITE = 23  # of Linux 5.14 and later; Python has no name for it


def create_store_fd(name: str) -> int:
    """Return the descriptor of a new, empty store.

    Raises:
        ResourceError: this system has no `memfd` (it is not Linux) or no descriptors left.
    """
    if not hasattr(os, "memfd_create"):
        raise ResourceError(
            "shared frames need Linux (memfd_create)",
            hint="run it on Linux, or in a Linux container or virtual machine",
        )
    try:
        return os.memfd_create(f"gait-{name}", os.MFD_CLOEXEC)
    except OSError as error:
        raise ResourceError(f"cannot make a frame store: {error.strerror}") from error


class FrameStore:
    """The writing end.

    Args:
        name: as it stands in the handles.
        fd: from `create_store_fd`; stays the caller's.
        budget_bytes: how much may be in flight. Always enough for `MIN_FRAMES` frames, however
            large, if the machine has the memory.
    """

    def __init__(self, name: str, fd: int, budget_bytes: int) -> None:
        self.name = name
        self._fd = fd
        self._budget = budget_bytes
        self._reserved = 0
        self._map: mmap.mmap | None = None
        self._taken: dict[int, int] = {}

    @property
    def frames_in_flight(self) -> int:
        """Frames whose space is taken."""
        return len(self._taken)

    def allocate(self, height: int, width: int) -> tuple[FrameHandle, np.ndarray] | None:
        """Return a handle and a writable uint8 [h,w,3], or None while the store is full.

        Raises:
            ResourceError: the machine has not enough memory for `MIN_FRAMES` frames of this size.
        """
        size = _size(height, width)
        limit = max(self._budget, MIN_FRAMES * size)
        offset = self._first_fit(size)
        if offset + size > limit:
            return None
        self._reserve(offset + size, size, limit)
        self._taken[offset] = size
        assert self._map is not None
        pixels = np.frombuffer(self._map, np.uint8, height * width * 3, offset)
        return FrameHandle(self.name, offset, height, width), pixels.reshape(height, width, 3)

    def take_up(self, handles: Iterable[FrameHandle]) -> None:
        """Go on with what an earlier writer of this memory has in flight."""
        self._taken = {handle.offset: _size(handle.height, handle.width) for handle in handles}
        # What lies beyond these may be reserved too; it is asked for again, which costs little.
        self._reserved = max((start + size for start, size in self._taken.items()), default=0)
        if length := os.fstat(self._fd).st_size:
            self._map = mmap.mmap(self._fd, length)

    def free(self, handle: FrameHandle) -> None:
        """Give back a frame's space."""
        del self._taken[handle.offset]

    def _first_fit(self, size: int) -> int:
        end = 0
        for offset in sorted(self._taken):
            if offset - end >= size:
                break
            end = offset + self._taken[offset]
        return end

    def _reserve(self, end: int, size: int, limit: int) -> None:
        if end <= self._reserved:
            return
        available = psutil.virtual_memory().available
        if end - self._reserved > available * MEMORY_SHARE:
            raise ResourceError(
                f"frames of {size / 1e6:.0f} MB do not fit: the frame store needs "
                f"{(end - self._reserved) / 1e6:.0f} MB more and {available / 1e6:.0f} MB of "
                "memory are free",
                hint="scale the video down, or lower run.frame_store_mb",
            )
        try:
            os.posix_fallocate(self._fd, self._reserved, end - self._reserved)
        except OSError as error:
            raise ResourceError(
                f"cannot reserve {end / 1e6:.0f} MB for frames: {error.strerror}",
                hint="free memory, or lower run.frame_store_mb",
            ) from error
        if self._map is None or end > len(self._map):
            # All that may ever be needed at once, which costs nothing until it is written: a map
            # that grows with the frames would have all of its pages faulted in anew each time.
            # Views of the old map keep it alive for as long as they are in use.
            length = max(limit, os.fstat(self._fd).st_size)
            os.ftruncate(self._fd, length)
            self._map = mmap.mmap(self._fd, length)
        # In one call instead of by a fault for each page. An older kernel knows no such advice.
        with contextlib.suppress(OSError):
            self._map.madvise(MADV_POPULATE_WRITE, self._reserved, end - self._reserved)
        self._reserved = end


def _size(height: int, width: int) -> int:
    """Bytes that a frame takes, in whole pages."""
    return -(-height * width * 3 // PAGE_BYTES) * PAGE_BYTES


class FrameReader:
    """The reading end for all stores of a run.

    Args:
        fds: descriptor of each store by name; stay the caller's.
    """

    def __init__(self, fds: dict[str, int]) -> None:
        self._fds = fds
        self._maps: dict[str, mmap.mmap] = {}

    def view(self, handle: FrameHandle) -> np.ndarray:
        """Return a frame's pixels as a read-only uint8 [h,w,3] view.

        Raises:
            MessageError: the handle names no store of this run or reaches beyond it.
        """
        if handle.store not in self._fds:
            raise MessageError(f"a frame names the store {handle.store!r}, which is not this run's")
        count = handle.height * handle.width * 3
        end = handle.offset + count
        if handle.store not in self._maps or end > len(self._maps[handle.store]):
            fd = self._fds[handle.store]
            size = os.fstat(fd).st_size
            if end > size:
                raise MessageError(f"a frame ends at byte {end} of a store of {size} bytes")
            self._maps[handle.store] = mmap.mmap(fd, size, prot=mmap.PROT_READ)
        flat = np.frombuffer(self._maps[handle.store], np.uint8, count, handle.offset)
        return flat.reshape(handle.height, handle.width, 3)
