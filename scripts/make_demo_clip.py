"""Make the demo clip: four invented people walk past two cameras (extra `synth`).

    python scripts/make_demo_clip.py --out demo

Writes camera_a.mp4, camera_b.mp4 and truth.npz (layout: stages/human/truth.py). The same seed gives
the same files. Body, clothes and direction of walking are the same in both clips; the walk (each
is another day's), the order of entering and the view are not.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # runs from a checkout that is not installed, too

from stages.human.rasteriser import Camera, look_at  # noqa: E402
from stages.human.scenes.drawing import draw_walker, walk_of  # noqa: E402
from stages.human.scenes.places import draw_place  # noqa: E402
from stages.human.scenes.routes import Arc  # noqa: E402
from stages.human.scenes.scene import Passage, Scene, SceneCamera, Walker  # noqa: E402
from stages.human.scenes.video import View, write_views  # noqa: E402
from stages.human.walkers.gaits import Split  # noqa: E402
from stages.human.walkers.people import shipped_population  # noqa: E402

SIZE_WH = (960, 540)
FPS = 25
FRAMES = 345
FOCAL_PX = 1150.0
TARGET_M = np.array([0.0, 0.0, 1.02])
CAMERA_DISTANCE_M = 9.2
CAMERA_HEIGHT_M = 1.9
AZIMUTHS_DEG = (-6.0, 19.0)
NAMES = ("camera_a", "camera_b")
REACH_M = 0.6  # half a stride: how far out of the image a walker starts and ends
SPLIT: Split = "test"
PLACE_SEED = 3
TOLD_EVERY = 50


@dataclass(frozen=True)
class Role:
    """Somebody in the clip: number of the person, heading +1 to the right or -1 to the left, the
    lane's y in metres, and when they enter in front of each camera.
    """

    name: str
    number: int
    heading: int
    lane_y_m: float
    enters_s: tuple[float, float]


CAST = (
    Role("Ada", 10, -1, -0.9, (7.2, 5.6)),
    Role("Bo", 32, 1, 0.7, (1.1, 1.1)),
    Role("Cleo", 26, -1, -0.4, (3.6, 7.6)),
    Role("Dan", 34, 1, 0.2, (3.0, 3.0)),
)


def make_camera(azimuth_deg: float) -> Camera:
    """A camera on a circle around the scene; azimuth 0 looks along y."""
    a = np.radians(azimuth_deg)
    away = CAMERA_DISTANCE_M * np.array([np.sin(a), -np.cos(a), 0.0])
    return look_at(np.array([0, 0, CAMERA_HEIGHT_M]) + away, TARGET_M, FOCAL_PX, SIZE_WH)


def edge_x(camera: Camera, side: int, lane_y_m: float) -> float:
    """Where on a lane somebody is just out of the image on the left (-1) or right (+1), metres."""
    p = camera.k @ np.column_stack([camera.r, camera.t])
    edge = p[0] - (0 if side < 0 else camera.size_wh[0]) * p[2]  # edge . (x, y, z, 1) = 0
    return float(-(edge[1] * lane_y_m + edge[2] * 1.0 + edge[3]) / edge[0] + side * REACH_M)


def make_scene(walkers: tuple[Walker, ...], number: int, seed: int) -> Scene:
    """What one of the cameras sees."""
    camera = make_camera(AZIMUTHS_DEG[number])
    population = shipped_population(SPLIT, planted=True)
    rng = np.random.default_rng([seed, number])
    passages = []
    for place, (role, walker) in enumerate(zip(CAST, walkers, strict=True)):
        start, end = (edge_x(camera, side * role.heading, role.lane_y_m) for side in (-1, 1))
        arc = Arc((start, role.lane_y_m), (end, role.lane_y_m))
        gait = walk_of(walker, population, rng)
        passages.append(Passage(place, role.enters_s[number], arc, gait, float(rng.random())))
    view = SceneCamera(NAMES[number], camera, np.ones(3, np.float32))
    stage = draw_place("hall", np.random.default_rng(PLACE_SEED))
    return Scene((view,), stage, walkers, tuple(passages), FPS, FRAMES, seed + number)


def say(done: int, total: int) -> None:
    """Tell how far it is."""
    if done % TOLD_EVERY == 0 or done == total:
        print(f"{done} of {total} frames", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Render the demo clip: four people, two cameras.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--out", type=Path, default=Path("demo"), help="folder to write to")
    parser.add_argument("--seed", type=int, default=7, help="clothes, walks and sensor noise")
    args = parser.parse_args()
    walkers = tuple(draw_walker(role.name, SPLIT, role.number, "nm", args.seed) for role in CAST)
    views = [View(make_scene(walkers, number, args.seed), 0) for number in (0, 1)]
    for name in ("truth.npz", *(f"{view.name}.mp4" for view in views)):
        (args.out / name).unlink(missing_ok=True)  # a former clip is replaced, not kept
    write_views(views, args.out, say)


if __name__ == "__main__":
    main()
