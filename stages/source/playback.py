"""When the pictures of a recording are due that is played as if it were a camera."""

from __future__ import annotations

from stages.source.reading import Reading

_BEFORE = object()  # stands for a reading of another process


class Playback:
    """Places each picture in time: where it stands in the source's time, which never goes back and
    goes on when the recording starts over, and when it is due on the host's clock.

    Args:
        speed: how many times as fast as it was recorded.
    """

    def __init__(self, speed: float) -> None:
        self._speed = speed
        self._reading: object = None
        self._zero_ns = 0  # time in the recording that was due at `_start_ns`
        self._start_ns = 0
        self._offset_ns = 0
        self._last_ns = -1
        self._last_at_ns = 0

    def state(self) -> tuple[int, int] | None:
        """Return the last picture's time and when it was placed, None before the first."""
        return (self._last_ns, self._last_at_ns) if self._reading is not None else None

    def go_on_after(self, state: tuple[int, int] | None) -> None:
        """Go on by the clock of another playback, as after a recording's end."""
        if state is not None:
            self._reading = _BEFORE
            self._last_ns = self._zero_ns = state[0]
            self._start_ns = state[1]

    def place(self, reading: Reading, picture_ns: int, now_ns: int) -> tuple[int, int]:
        """Return a picture's `time_ns`, and the host's time at which it is due.

        Args:
            reading: what it came from; the first picture of each is due at once.
            picture_ns: its time in the recording.
            now_ns: the host's clock.
        """
        if reading is not self._reading:
            if self._reading is not None:
                reached_ns = self._zero_ns + self._offset_ns
                reached_ns += round((now_ns - self._start_ns) * self._speed)
                self._offset_ns = reached_ns - picture_ns
            self._reading, self._zero_ns, self._start_ns = reading, picture_ns, now_ns
        self._last_ns = max(self._last_ns + 1, picture_ns + self._offset_ns)
        self._last_at_ns = now_ns
        due_ns = self._start_ns + round((picture_ns - self._zero_ns) / self._speed)
        return self._last_ns, due_ns
