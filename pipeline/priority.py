"""Who has the processor first: how a process lets others have it, and takes its own share back."""

from __future__ import annotations

import os
import random
import threading
import time
from contextlib import suppress
from pathlib import Path

from pipeline.clock import NS_PER_S, monotonic_ns

AUTOGROUP = Path("/proc/self/autogroup")
THREADS = Path("/proc/self/task")
LEAST_NICE = 19
SESSION_S = 5.0
# A stage that had nothing to wait for, but for this share of the time, as often as that in a row,
# lags behind: those before it wait for it. How long its work takes tells nothing, for that is
# stretched by others.
LAGS_BELOW = 0.05
LOOK_EVERY_NS = NS_PER_S
LAGS_FROM = 2
# A stage that needed its own share tries to do without it again after this long.
TRY_AGAIN_NS = 30 * NS_PER_S


class MakingWay:
    """A process that lets others have the processor first for as long as it keeps up with its work.

    Args:
        nice: as the command `nice` counts it, on top of what the process has already.
    """

    def __init__(self, nice: int) -> None:
        self._usual = os.nice(0)
        self._modest = min(self._usual + nice, LEAST_NICE)
        self._returns = may_return()
        self._looked_ns, self._waited_ns = monotonic_ns(), 0
        self._tries_ns = self._lagged = 0
        self.modest = False
        self._be(modest=True)

    def look(self, waited_ns: int, now_ns: int) -> None:
        """Take the own share back if work lags behind, try without it some time later.

        Args:
            waited_ns: how long the stage has waited for others so far, since it makes way.
            now_ns: on the clock that `waited_ns` is counted by.
        """
        passed_ns = now_ns - self._looked_ns
        if passed_ns < LOOK_EVERY_NS:
            return
        idle = waited_ns - self._waited_ns >= LAGS_BELOW * passed_ns
        self._lagged = 0 if idle else self._lagged + 1
        self._looked_ns, self._waited_ns = now_ns, waited_ns
        if self._lagged == LAGS_FROM:
            if self.modest:
                self._tries_ns = now_ns + TRY_AGAIN_NS
            self._lagged = 0
            self._be(modest=False)  # said again if need be: a session's wish may not be heard
        elif not self.modest and idle and now_ns >= self._tries_ns:
            self._be(modest=True)

    def _be(self, *, modest: bool) -> None:
        self.modest = modest
        nice = self._modest if modest else self._usual
        if self._returns:
            set_nice(nice)
        set_session_nice(nice)


def may_return() -> bool:
    """Whether this process may lower its niceness to what it is now once it has raised it.

    Users without special rights may not. It is tried out by a thread that ends with it. Where it is
    not known which threads there are, none is to lag behind the others, and the answer is no.
    """
    if not THREADS.exists():
        return False
    found: list[bool] = []

    def try_it() -> None:
        thread, usual = threading.get_native_id(), os.nice(0)
        try:
            os.setpriority(os.PRIO_PROCESS, thread, min(usual + 1, LEAST_NICE))
            os.setpriority(os.PRIO_PROCESS, thread, usual)
        except PermissionError:
            found.append(False)
        else:
            found.append(True)

    trial = threading.Thread(target=try_it, name="trial")
    trial.start()
    trial.join()
    return found[0]


def set_nice(nice: int) -> None:
    """Set the niceness of every thread of this process; those to come take after these."""
    for thread in THREADS.iterdir():
        with suppress(OSError):  # it may have ended
            os.setpriority(os.PRIO_PROCESS, int(thread.name), nice)


class _Session:
    """Tells the kernel what this session is to have; the newest wish counts."""

    def __init__(self) -> None:
        self._wish = 0
        self._until = 0.0
        self.begin()

    def begin(self) -> None:
        """Begin anew in a process that was forked: the thread that told is not there, and whoever
        held the lock may not be either.
        """
        self._lock = threading.Lock()
        self._teller: threading.Thread | None = None

    def wish(self, nice: int) -> None:
        with self._lock:
            self._wish, self._until = nice, time.monotonic() + SESSION_S
            if self._teller is None:
                self._teller = threading.Thread(target=self._tell, name="session", daemon=True)
                self._teller.start()

    def _tell(self) -> None:
        while True:
            with self._lock:
                if _tell_session(self._wish) or time.monotonic() > self._until:
                    self._teller = None
                    return
            # Ten of these a second are taken from all users together, and our stages come at once.
            time.sleep(random.uniform(0.05, 0.15))


def _tell_session(nice: int) -> bool:
    """Return whether there is nothing more to do."""
    wanted = str(nice).encode()
    try:
        said = AUTOGROUP.read_bytes().split()
        if not said or said[-1] == wanted:
            return True
        group = os.open(AUTOGROUP, os.O_WRONLY)
        try:
            os.write(group, wanted)
        finally:
            os.close(group)
    except BlockingIOError:
        return False
    except PermissionError:
        # Only few may have more than others, but everybody as much as they.
        return nice >= 0 or _tell_session(0)
    except OSError:
        return True  # sessions do not count here
    return True


_session = _Session()
os.register_at_fork(after_in_child=_session.begin)


def set_session_nice(nice: int) -> None:
    """Set the niceness of this process's session, from some tenths of a second on.

    Where Linux shares the processor out by session first (autogroups), a process's niceness counts
    only among those of its own session, and each of our processes has one to itself.
    """
    _session.wish(nice)
