"""What a run is made of before it begins: a private directory, shared memory, a plan a stage."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipeline.config import PipelineConfig
from pipeline.errors import ResourceError
from pipeline.graph import LAST_TOPIC, STAGES, StageSpec, readers_of, topic_spec
from pipeline.plans import LinkPlan, NodePlan
from pipeline.transport import create_store_fd

RUN_DIR_PREFIX = "gaitstream-"
# A directory younger than this may be one that its run is about to lock.
SETTLED_S = 1.0
# A live frame is sent when detection is free for it: one that waited would be that much older.
LIVE_DETECT_QUEUE = 1
# As the command `nice` counts: a tenth of the time where others want it too. With 15 the stages
# lag, and what they make way for waits for them; with 5 half of the gain is lost (measured).
MAKE_WAY = 10
HANDLE_QUEUE = 1024


def clear_dead_runs() -> None:
    """Remove private directories whose run is gone (kill -9 leaves its directory behind).

    A run holds a lock on its directory, which the system lets go of with its process; so runs in
    other containers that share the directory for temporary files are left alone.
    """
    for path in Path(tempfile.gettempdir()).glob(f"{RUN_DIR_PREFIX}*"):
        try:
            facts = path.stat()
            if facts.st_uid != os.getuid() or time.time() - facts.st_ctime < SETTLED_S:
                continue
            with _locked(path):
                shutil.rmtree(path, ignore_errors=True)
        except OSError:
            continue  # it is another run's, or has just gone


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a directory's lock; raises OSError if somebody else does."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(fd)


@contextmanager
def run_dir() -> Iterator[Path]:
    """A directory only we can enter (0700), for ipc sockets and plans."""
    try:
        path = Path(tempfile.mkdtemp(prefix=f"{RUN_DIR_PREFIX}{os.getpid()}-"))
    except OSError as error:
        raise ResourceError(
            f"cannot make a private directory in {tempfile.gettempdir()}: {error.strerror}",
            hint="free space there, or set TMPDIR to a writable directory",
        ) from error
    try:
        with _locked(path):
            yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@dataclass(frozen=True, slots=True)
class SharedMemory:
    """Descriptors of memory that outlives any stage.

    Attributes:
        store: of the frames.
        snapshots: by stage; empty where stages are threads and die together.
    """

    store: int
    snapshots: dict[str, int]


@contextmanager
def shared_memory(config: PipelineConfig) -> Iterator[SharedMemory]:
    """Make a run's shared memory. It has no name, so nothing is left behind, however the run ends.

    Raises:
        ResourceError: there is none to be had.
    """
    names = [spec.name for spec in STAGES] if config.run.placement == "processes" else []
    with ExitStack() as stack:

        def made(name: str) -> int:
            fd = create_store_fd(name)
            stack.callback(os.close, fd)
            return fd

        yield SharedMemory(made("source"), {name: made(f"{name}-snapshot") for name in names})


def plan_run(
    config: PipelineConfig,
    directory: Path,
    memory: SharedMemory,
    *,
    live: bool,
    spans: Path | None,
) -> list[NodePlan]:
    """Return what each stage is told; see `supervisor.run_pipeline` for the arguments."""
    threads = config.run.placement == "threads"
    base = f"inproc://{directory.name}/" if threads else f"ipc://{directory}/"
    links = [
        LinkPlan(
            spec.writes,
            spec.name,
            reader,
            f"{base}{spec.writes}.{reader}",
            _window(config, spec.writes, reader, live),
        )
        for spec in STAGES
        if spec.writes is not None
        for reader in readers_of(spec.writes)
    ]
    return [
        NodePlan(
            stage=spec.name,
            config=config.stages[spec.name].model_dump(mode="json"),
            inputs=tuple(link for link in links if link.receiver == spec.name),
            outputs=tuple(link for link in links if link.sender == spec.name),
            control=f"{base}control",
            stores={"source": memory.store} if _touches_frames(spec) else {},
            frame_store_bytes=config.run.frame_store_mb * 1_000_000,
            max_frames=config.run.max_frames,
            spans=str(spans.resolve()) if spans and LAST_TOPIC in spec.reads else "",
            snapshots=memory.snapshots.get(spec.name, -1),
            nice=0 if live or threads else _nice(spec),
        )
        for spec in STAGES
    ]


def _nice(spec: StageSpec) -> int:
    """A recording is done soonest when the stage that takes the most time always has the cores,
    and those after it work in what it leaves. Should they fall behind, it waits for them.
    """
    names = [each.name for each in STAGES]
    pace = next(each.name for each in STAGES if each.sets_pace)
    return MAKE_WAY if names.index(spec.name) > names.index(pace) else 0


def _touches_frames(spec: StageSpec) -> bool:
    return spec.writes == "frames" or "frames" in spec.reads


def _window(config: PipelineConfig, topic: str, reader: str, live: bool) -> int:
    """Messages that may be under way on a link, the one being worked on included."""
    queue = topic_spec(topic).queue
    if queue is not None:
        return queue
    if reader == "sink":
        return HANDLE_QUEUE  # the frame store bounds these
    return LIVE_DETECT_QUEUE if live else config.run.detect_queue
