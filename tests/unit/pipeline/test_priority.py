"""Processes that let others go first, and take their share back when they lag behind."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

SETUP = """
import ctypes, os, resource, sys, time
from pathlib import Path
from pipeline.priority import AUTOGROUP, LOOK_EVERY_NS, TRY_AGAIN_NS, MakingWay, may_return
from pipeline.clock import monotonic_ns
if sys.argv[1] == "user" and os.getuid() == 0:
    os.setresuid(65534, 65534, 65534)
    ctypes.CDLL(None).prctl(4, 1)  # its own files in /proc are its own again
said = lambda: [int(each) for each in AUTOGROUP.read_bytes().split()[-1:]]

def session(wanted):
    deadline = time.monotonic() + 30
    while AUTOGROUP.exists() and said() not in ([], [wanted]) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not AUTOGROUP.exists() or said() in ([], [wanted]), said()

print("ready", flush=True)
sys.stdin.readline()
"""

# What the kernel says of lowering niceness, beside what is found by trying.
MAY = """
has = [line.split()[1] for line in Path("/proc/self/status").read_text().splitlines()
       if line.startswith("CapEff")][0]
limit = resource.getrlimit(resource.RLIMIT_NICE)[0]
may = bool(int(has, 16) >> 23 & 1) or limit == -1 or 20 - limit <= os.nice(0)
assert may_return() == may, (has, limit)
"""

AT_ONCE = """
usual = os.nice(0)
wanted = min(usual + 7, 19)
MakingWay(7)
session(wanted)
print(os.nice(0) - usual, wanted - usual if may_return() else 0)
"""

LAGS = """
usual = os.nice(0)
modest = min(usual + 7, 19)
way = MakingWay(7)
now_ns, waited_ns = monotonic_ns(), 0

def after(seconds, share):
    global now_ns, waited_ns
    now_ns += int(seconds * 1e9)
    waited_ns += int(share * seconds * 1e9)
    way.look(waited_ns, now_ns)
    session(modest if way.modest else usual)
    if may_return():
        assert os.nice(0) == (modest if way.modest else usual)
    return way.modest

told = [after(1.1, 0.1), after(0.5, 0.0), after(0.6, 0.0), after(1.1, 0.01)]
told += [after(3, 0.8), after(28, 0.2), after(1.1, 0.0), after(1.1, 0.0)]
told += [after(31, 0.0), after(1.1, 0.9), after(1.1, 0.0), after(1.1, 0.9), after(1.1, 0.0)]
print(*map(int, told))
"""


@contextmanager
def ready(user: str, program: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", SETUP + MAY + program, user],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        yield process


def answer(process: subprocess.Popen[str]) -> list[int]:
    found, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    return [int(each) for each in found.split()]


@pytest.mark.parametrize("user", ["user", "us"])
def test_processes_of_several_sessions_make_way_at_once(user: str) -> None:
    """Linux takes few such wishes a second from users without special rights."""
    with ExitStack() as stack:
        processes = [stack.enter_context(ready(user, AT_ONCE)) for _ in range(5)]
        for each in processes:
            assert each.stdin is not None
            each.stdin.write("go\n")
            each.stdin.flush()
        for each in processes:
            given, wanted = answer(each)
            assert given == wanted


@pytest.mark.parametrize("user", ["user", "us"])
def test_a_stage_that_lags_behind_has_its_own_share_for_a_while(user: str) -> None:
    """Looked at once a second, after two such; back after half a minute, when it keeps up."""
    with ready(user, LAGS) as process:
        assert answer(process) == [1, 1, 1, 0, 0, 1, 1, 0, 0, 1, 1, 1, 1]


FORKS = """
from pipeline.priority import set_session_nice
set_session_nice(3)
child = os.fork()
if not child:
    os.setsid()  # as every stage's process does
    set_session_nice(5)
    session(5)
    os._exit(0)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_copy_of_a_process_tells_its_session_itself() -> None:
    with ready("us", FORKS) as process:
        assert answer(process) == [0]
