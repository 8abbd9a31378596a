"""One labelled gait sequence: somebody, dressed somehow, walks past a camera.

What a network would be trained on: aligned silhouettes with the faults of segmentation, keypoints,
and SMPL rows as our own `body` stage gives them from noisy landmarks. Letters: s frames.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stages.human.rotation import axis_angle_to_matrix
from stages.human.silhouette import align, cut_sides
from stages.human.walkers.bodies import load_mesh, load_walker_skeleton, pose_joints
from stages.human.walkers.gaits import Gait, Population, styled
from stages.human.walkers.imperfections import draw_faults, imperfect, missed_frames
from stages.human.walkers.landmark_noise import seen_landmarks
from stages.human.walkers.landmarks import true_landmarks
from stages.human.walkers.people import DAY_SPREAD, Person, shipped_population
from stages.human.walkers.silhouettes import draw_walk
from stages.human.walkers.viewing import View, draw_view, to_world
from stages.human.walkers.wardrobe import Dress, Outfit, draw_outfit

NANOSECONDS = 1_000_000_000
# Somebody nearer than this to the camera at any frame would fill the picture, metres.
NEAREST_M = 2.2

BodyRows = Callable[
    [NDArray[np.int64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]],
    NDArray[np.float32],
]
"""times_ns [s], world landmarks [s,33,4], keypoints [s,17,3], boxes [s,4] -> theta [s,85]."""


@dataclass(frozen=True)
class Recipe:
    """How a sequence is made.

    Attributes:
        dress: nm, bg or cl.
        azimuth_deg: see stages/human/walkers/viewing.py.
        frames: how many; those in which nobody was found do not count.
        fps: frames a second of the camera.
        noise: strength of segmentation's and landmarks' errors, and share of frames in which nobody
            is found; 0 is clean, 1 as measured.
        occluded: something upright stands in front.
        day_spread: how far the walk differs from the person's usual one.
        elevations_deg, distances_m, heights_px: ranges the view is drawn from.
        height: side of the aligned silhouette before its sides are cut, 64 or 128.
    """

    dress: Dress = "nm"
    azimuth_deg: float = 90.0
    frames: int = 30
    fps: float = 25.0
    noise: float = 1.0
    occluded: bool = False
    day_spread: float = DAY_SPREAD
    elevations_deg: tuple[float, float] = (0.0, 30.0)
    distances_m: tuple[float, float] = (3.5, 20.0)
    heights_px: tuple[float, float] = (42.0, 130.0)
    height: int = 64


@dataclass(frozen=True, eq=False)
class WalkSequence:
    """silhouettes uint8 [s,h,w]; theta float32 [s,85], or [0,85]; keypoints_px float32 [s,17,3]."""

    silhouettes: NDArray[np.uint8]
    theta: NDArray[np.float32]
    keypoints_px: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Walk:
    """One walk before a camera looks at it: gait, clothes, view, and phase and times of frames."""

    gait: Gait
    outfit: Outfit
    view: View
    phase: NDArray[np.float64]
    times_s: NDArray[np.float64]


def draw_walk_of(
    person: Person,
    recipe: Recipe,
    rng: np.random.Generator,
    population: Population | None = None,
    outfit: Outfit | None = None,
) -> Walk:
    """Draw what differs between two walks of one person."""
    gaits = shipped_population(person.split) if population is None else population
    worn = draw_outfit(recipe.dress, person, rng) if outfit is None else outfit
    gait = styled(person.walk(rng, gaits, recipe.day_spread), worn.carriage)
    view = draw_view(
        recipe.azimuth_deg, rng, recipe.elevations_deg, recipe.distances_m, recipe.heights_px
    )
    times_s = _times_seen(recipe, view.height_px, rng)
    phase = rng.random() + times_s / gait.duration_s
    return Walk(gait, worn, view, phase, times_s)


def make_sequence(
    person: Person,
    recipe: Recipe,
    rng: np.random.Generator,
    body_rows: BodyRows | None = None,
    population: Population | None = None,
    outfit: Outfit | None = None,
) -> WalkSequence:
    """Make a sequence.

    Args:
        rng: everything that is drawn comes from it.
        body_rows: makes the SMPL rows from landmarks; None leaves them out.
        population: the gaits that day-to-day changes come from; None: the shipped ones.
        outfit: what is worn; None draws one of the recipe's dress.
    """
    walk = draw_walk_of(person, recipe, rng, population, outfit)
    mesh, skeleton = load_mesh(), load_walker_skeleton()
    rest_joints = skeleton.rest_joints(person.shape)
    pose = walk.gait.pose(walk.phase)
    posed = pose_joints(pose, rest_joints)
    speed = walk.gait.pace_hz * person.leg_m
    along = speed * (walk.times_s - walk.times_s.mean())
    travel = np.stack([0 * along, 0 * along, along], axis=1)
    view = _far_enough(walk.view, float(along[-1]))
    camera = view.camera()
    drawn = draw_walk(
        mesh, mesh.shaped(person.shape), rest_joints, posed, travel, walk.outfit, camera
    )
    masks = [mask.pixels for mask in drawn]
    step_s = 1 / recipe.fps
    if recipe.noise > 0 or recipe.occluded:
        faults = draw_faults(rng, recipe.noise, recipe.occluded)
        masks = imperfect(masks, faults, step_s, rng)
    silhouettes = _aligned(masks, [mask.pixels for mask in drawn], recipe.height)
    origin = np.array([mask.origin_xy for mask in drawn])
    size = np.array([mask.pixels.shape[::-1] for mask in drawn])
    boxes = np.concatenate([origin, origin + size], axis=1).astype(np.float64)
    rotations = axis_angle_to_matrix(pose.reshape(-1, 24, 3))
    points = true_landmarks(rotations, rest_joints) + travel[:, None]
    world = to_world(points) + np.array([0.0, 0.0, rest_joints[0, 1] - _sole(rest_joints)])
    image, _ = camera.project(world.reshape(-1, 3))
    hips = 0.5 * (world[:, 23:24] + world[:, 24:25])
    seen = seen_landmarks(
        (world - hips) @ camera.r.T,
        image.reshape(*world.shape[:2], 2).astype(np.float64),
        float(np.median(size[:, 1])),
        step_s,
        rng,
        recipe.noise,
    )
    theta = np.zeros((0, 85), np.float32)
    if body_rows is not None:
        times_ns = np.round(walk.times_s * NANOSECONDS).astype(np.int64)
        theta = body_rows(times_ns, seen.world, seen.keypoints_px, boxes)
    return WalkSequence(silhouettes, theta, seen.keypoints_px.astype(np.float32))


def _times_seen(recipe: Recipe, height_px: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """When the frames were taken, seconds: those in which detection missed the person are left out.

    A person who is hardly ever found would be no sequence at all: then the frames come as they are.
    """
    tried = 3 * recipe.frames
    missed = missed_frames(tried, height_px, 1 / recipe.fps, rng, recipe.noise)
    seen = np.flatnonzero(~missed)[: recipe.frames]
    if len(seen) < recipe.frames:
        seen = np.arange(recipe.frames)
    return np.asarray(seen / recipe.fps)


def _sole(rest_joints: NDArray[np.float64]) -> float:
    """Height of the floor under a rest skeleton: a little below the foot joints."""
    return float(rest_joints[[10, 11], 1].min()) - 0.02


def _far_enough(view: View, reach_m: float) -> View:
    """The view, from farther away if the walker would come too near."""
    toward = abs(reach_m * np.cos(np.radians(view.azimuth_deg)))
    distance = max(view.distance_m, NEAREST_M + toward)
    return View(view.azimuth_deg, view.elevation_deg, distance, view.height_px)


def _aligned(
    masks: list[NDArray[np.uint8]], clean: list[NDArray[np.uint8]], height: int
) -> NDArray[np.uint8]:
    """Aligned silhouettes [s,h,w]; a mask that the faults left empty gives way to its clean one."""
    rows = []
    for mask, original in zip(masks, clean, strict=True):
        square = align(mask, height)
        if square is None:
            square = align(original, height)
        rows.append(np.zeros((height, height), np.uint8) if square is None else square)
    return np.ascontiguousarray(cut_sides(np.stack(rows)))
