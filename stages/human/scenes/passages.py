"""Who walks when and where: from one gate of a place to another, without running into each other.

A gate is where people come and go: a doorway, or a spot that no camera sees. Everybody walks again
and again through the middle of the place, where all cameras look, and waits a little out of sight
in between. World axes: metres. Letters: G gates.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from stages.human.rasteriser import Camera
from stages.human.scenes.routes import Arc
from stages.human.scenes.stage_set import StageSet, Wall

BEYOND_M = 0.9  # how far behind a doorway a walk begins
RING_M = (6.0, 8.0, 10.0, 11.5)  # where spots out of sight are looked for
RING_STEPS = 48
SHOULDER_M = 0.7  # somebody out of sight is so with room to spare
TALL_M = 2.1
MIDDLE_M = 2.2  # a way passes this near to the middle
LENGTH_M = (6.0, 24.0)
MIN_RADIUS_M = 5.0
APART_M = 0.9
FROM_CAMERA_M = 1.8
STEP_S = 0.2
TRIES = 60
PAUSE_S = (0.6, 4.0)
FIRST_S = 1.5  # who is ready by then is under way when the scene begins


@dataclass(frozen=True)
class Way:
    """An arc walked from `starts_s` on at a speed, metres a second."""

    walker: int
    starts_s: float
    arc: Arc
    speed_mps: float

    @property
    def takes_s(self) -> float:
        """How long it is walked."""
        return self.arc.length_m / self.speed_mps

    @property
    def ends_s(self) -> float:
        """When it is over."""
        return self.starts_s + self.takes_s

    def at(self, times_s: NDArray[np.float64]) -> NDArray[np.float64]:
        """Places [T,2] at times [T] within it."""
        share = (times_s - self.starts_s) * self.speed_mps / self.arc.length_m
        return arc_places(self.arc, share)


def arc_places(arc: Arc, share: NDArray[np.float64]) -> NDArray[np.float64]:
    """Places [T,2] at shares [T] of an arc."""
    start, end = np.array(arc.start_xy_m), np.array(arc.end_xy_m)
    if abs(arc.bend_rad) < 1e-6:
        return np.asarray(start + share[:, None] * (end - start))
    radius = arc.length_m / arc.bend_rad  # left turns are positive
    heading = arc.heading_rad(0.0)
    centre = start + radius * np.array([-np.sin(heading), np.cos(heading)])
    angle = heading + share * arc.bend_rad
    return np.asarray(centre + radius * np.stack([np.sin(angle), -np.cos(angle)], axis=1))


def gates_of(stage: StageSet, cameras: tuple[Camera, ...]) -> NDArray[np.float64]:
    """Places [G,2] where people may come and go."""
    gates = [np.array(place) for wall in stage.walls for place in _doorways(wall)]
    low, high = free_box(stage)
    for radius in RING_M:
        for angle in np.arange(RING_STEPS) * 2 * np.pi / RING_STEPS:
            spot = radius * np.array([np.cos(angle), np.sin(angle)])
            inside = (spot > low + 0.5).all() and (spot < high - 0.5).all()
            if inside and is_free(spot[None], stage, cameras) and not _seen(spot, cameras):
                gates.append(spot)
    return np.array(gates).reshape(-1, 2)


def free_box(stage: StageSet) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The floor between the walls: corners [2] and [2], metres."""
    low, high = np.full(2, -np.inf), np.full(2, np.inf)
    for wall in stage.walls:
        if wall.at_m < 0:
            low[wall.axis] = max(low[wall.axis], wall.at_m)
        else:
            high[wall.axis] = min(high[wall.axis], wall.at_m)
    return low, high


def _doorways(wall: Wall) -> list[tuple[float, float]]:
    at = wall.at_m + np.sign(wall.at_m) * BEYOND_M
    return [(at, door) if wall.axis == 0 else (door, at) for door in wall.doors_m]


def _seen(spot: NDArray[np.float64], cameras: tuple[Camera, ...]) -> bool:
    """Whether any camera sees somebody who stands there."""
    around = SHOULDER_M * np.array([[0, 0], [1, 0], [-1, 0], [0, 1], [0, -1]])
    ground = np.column_stack([spot + around, np.zeros(len(around))])
    points = np.concatenate([ground + np.array([0, 0, z]) for z in (0.0, 0.5 * TALL_M, TALL_M)])
    for camera in cameras:
        image, depth = camera.project(points)
        if (depth < 0.3).all():
            continue
        if (depth < 0.3).any():
            return True  # beside the lens: too near to tell
        low, high = image.min(axis=0), image.max(axis=0)
        if (high > 0).all() and (low < camera.size_wh).all():
            return True
    return False


def is_free(places: NDArray[np.float64], stage: StageSet, cameras: tuple[Camera, ...]) -> bool:
    """Whether a way over places [T,2] keeps clear of things and cameras."""
    for obstacle in stage.obstacles:
        away = np.hypot(places[:, 0] - obstacle.x_m, places[:, 1] - obstacle.y_m)
        if (away < obstacle.radius_m).any():
            return False
    for camera in cameras:
        away = np.hypot(*(places - camera.position[:2]).T)
        if (away < FROM_CAMERA_M).any():
            return False
    return True


def draw_arc(
    gates: NDArray[np.float64],
    start: int,
    stage: StageSet,
    cameras: tuple[Camera, ...],
    rng: np.random.Generator,
) -> tuple[Arc, int] | None:
    """A way from a gate through the middle to another; None where none was found."""
    for _ in range(TRIES):
        end = int(rng.integers(len(gates)))
        length = float(np.hypot(*(gates[end] - gates[start])))
        if end == start or not LENGTH_M[0] <= length <= LENGTH_M[1]:
            continue
        most = min(1.2, length / MIN_RADIUS_M)
        bend = 0.0 if rng.random() < 0.4 else float(rng.uniform(-most, most))
        first, last = (tuple(float(v) for v in gates[k]) for k in (start, end))
        arc = Arc((first[0], first[1]), (last[0], last[1]), bend)
        places = arc_places(arc, np.linspace(0, 1, 60))
        if np.hypot(*places.T).min() > MIDDLE_M:
            continue
        if _stays_inside(places, stage) and is_free(places, stage, cameras):
            return arc, end
    return None


def _stays_inside(places: NDArray[np.float64], stage: StageSet) -> bool:
    """Whether a way crosses walls at its ends alone."""
    low, high = free_box(stage)
    middle = places[6:-6]
    return bool((middle > low).all() and (middle < high).all())


def draw_ways(
    speeds_mps: list[float],
    seconds: float,
    stage: StageSet,
    cameras: tuple[Camera, ...],
    rng: np.random.Generator,
) -> tuple[Way, ...]:
    """Ways of everybody for a scene's length, in order of their beginning."""
    gates = gates_of(stage, cameras)
    if len(gates) < 2:
        raise ValueError(f"{stage.name}: expected at least 2 gates, got {len(gates)}")
    ways: list[Way] = []
    walked = [0] * len(speeds_mps)
    free_s = [-1.0 + 0.4 * k for k in range(len(speeds_mps))]
    gate_of = [int(rng.integers(len(gates))) for _ in speeds_mps]
    while min(free_s) < seconds:
        walker = int(np.argmin(free_s))
        found = draw_arc(gates, gate_of[walker], stage, cameras, rng)
        if found is None:
            gate_of[walker] = int(rng.integers(len(gates)))
            free_s[walker] += 0.1
            continue
        way = Way(walker, free_s[walker], found[0], speeds_mps[walker])
        if not walked[walker] and free_s[walker] < FIRST_S:
            # The first are on their way when the scene begins.
            way = replace(way, starts_s=free_s[walker] - float(rng.uniform(0.2, 0.5)) * way.takes_s)
        if _meets(way, ways):
            free_s[walker] += float(rng.uniform(0.3, 1.0))
            continue
        ways.append(way)
        walked[walker] += 1
        gate_of[walker] = found[1]
        free_s[walker] = way.ends_s + float(rng.uniform(*PAUSE_S))
    return tuple(sorted(ways, key=lambda way: way.starts_s))


def _meets(way: Way, others: list[Way]) -> bool:
    """Whether somebody would come too near to somebody else."""
    for other in others:
        first, last = max(way.starts_s, other.starts_s), min(way.ends_s, other.ends_s)
        if other.walker == way.walker or first >= last:
            continue
        times = np.arange(first, last, STEP_S)
        if (np.hypot(*(way.at(times) - other.at(times)).T) < APART_M).any():
            return True
    return False
