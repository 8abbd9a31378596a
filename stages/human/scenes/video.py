"""A scene as recordings: camera_*.mp4 and truth.npz.

Each file is written under another name and renamed when it is whole. A camera's recording that is
there already, with its truth beside it, is not made again, so a run that was stopped goes on with
the camera that it was at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from stages.human.scenes.scene import Scene
from stages.human.truth import TruthCamera, TruthRows, load_truth

CRF = 21
PRESET = "medium"
TRUTH = "truth.npz"
# Told after each frame: frames done and frames in all, over all cameras.
Progress = Callable[[int, int], None]


def write_scene(scene: Scene, out: Path, progress: Progress | None = None, crf: int = CRF) -> None:
    """Write <camera>.mp4 for each camera, and truth.npz, into the folder `out`.

    Args:
        out: made if it is not there. Files of these names are taken for this scene's.
        crf: quality of the recording, 0 (lossless) to 51.

    Raises:
        OSError: the disk is full, or nothing may be written there.
    """
    write_views([View(scene, number) for number in range(len(scene.cameras))], out, progress, crf)


@dataclass(frozen=True, eq=False)
class View:
    """One camera of a scene."""

    scene: Scene
    number: int

    @property
    def name(self) -> str:
        """The camera's."""
        return self.scene.cameras[self.number].name

    def truth_camera(self) -> TruthCamera:
        """The camera as a truth file describes it, without frames."""
        lens = self.scene.cameras[self.number].lens
        return TruthCamera(self.name, lens.k, lens.r, lens.t, lens.size_wh, self.scene.fps, ())


def write_views(
    views: Sequence[View], out: Path, progress: Progress | None = None, crf: int = CRF
) -> None:
    """Write cameras that see the same people, of one scene or of several, with one truth.npz.

    Raises:
        ValueError: the scenes' people or the cameras' names do not suit each other.
        OSError: the disk is full, or nothing may be written there.
    """
    if len({view.scene.names for view in views}) != 1:
        raise ValueError("expected views of the same people")
    if len({view.name for view in views}) < len(views):
        raise ValueError(f"expected names of cameras that differ, got {[v.name for v in views]}")
    out.mkdir(parents=True, exist_ok=True)
    if (out / TRUTH).exists():
        return
    total, before = sum(view.scene.frame_count for view in views), 0
    for view in views:
        if not _part_truth(out, view).exists():
            _write_view(view, out, crf, _Counter(before, total, progress))
        before += view.scene.frame_count
    _join_truth(views, out)


@dataclass(frozen=True)
class _Counter:
    before: int
    total: int
    progress: Progress | None

    def tell(self, done: int) -> None:
        if self.progress is not None:
            self.progress(self.before + done, self.total)


def _part_truth(out: Path, view: View) -> Path:
    return out / f".{view.name}.truth.npz"


def _write_view(view: View, out: Path, crf: int, counter: _Counter) -> None:
    scene = view.scene
    rows = TruthRows(scene.names)
    rows.begin(view.truth_camera())

    def pictures() -> Iterator[NDArray[np.uint8]]:
        for index in range(scene.frame_count):
            pixels, truth = scene.frame(view.number, index)
            rows.add(truth.people)
            yield pixels
            counter.tell(index + 1)

    half = out / f".{view.name}.mp4.part"
    encode(half, pictures(), scene.cameras[view.number].lens.size_wh, scene.fps, crf)
    half.replace(out / f"{view.name}.mp4")
    # Its truth comes last: where it is, the recording is whole.
    half = out / f".{view.name}.truth.part"
    rows.save(half)
    half.replace(_part_truth(out, view))


def _join_truth(views: Sequence[View], out: Path) -> None:
    """One truth file of all cameras; then the parts go."""
    parts = [_part_truth(out, view) for view in views]
    rows = TruthRows(views[0].scene.names)
    for part in parts:
        camera = load_truth(part).cameras[0]
        rows.begin(camera)
        for people in camera.frames:
            rows.add(people)
    half = out / f".{TRUTH}.part"
    rows.save(half)
    half.replace(out / TRUTH)
    for part in parts:
        part.unlink()


def encode(
    path: Path,
    pictures: Iterator[NDArray[np.uint8]],
    size_wh: tuple[int, int],
    fps: float,
    crf: int = CRF,
) -> None:
    """Write an H.264 MP4 (yuv420p, index in front so that it plays while it loads).

    Args:
        pictures: uint8 [H,W,3] BGR; H and W even.
    """
    with av.open(str(path), "w", format="mp4", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001))
        stream.width, stream.height = size_wh
        stream.pix_fmt = "yuv420p"
        # One thread, no macroblock tree: with either, the same frames gave other bytes (measured).
        stream.options = {
            "crf": str(crf), "preset": PRESET, "threads": "1", "x264-params": "mbtree=0"
        }  # fmt: skip
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="bgr24")))
        container.mux(stream.encode())
