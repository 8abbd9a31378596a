"""Where somebody walks: an arc over the floor on which the standing foot stays where it is.

A route is stepped through stride by stride: the body moves as its stride says, and where the route
bends, the body turns about the foot that bears it. World axes: metres, z up. A heading is the
direction of travel in radians, counter-clockwise from +x. Letters: K steps of a route.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stages.human.scenes.moving import PHASES, Moment, Stride3d

# Without a turn people walk towards -y.
UNTURNED_RAD = -np.pi / 2


@dataclass(frozen=True)
class Arc:
    """A planned way from start to end [2] metres; bend is what it turns by, radians, left positive.

    The way is a part of a circle: `bend` 0 is straight.
    """

    start_xy_m: tuple[float, float]
    end_xy_m: tuple[float, float]
    bend_rad: float = 0.0

    @property
    def length_m(self) -> float:
        """Along the arc."""
        half = self.bend_rad / 2
        chord = float(np.hypot(*np.subtract(self.end_xy_m, self.start_xy_m)))
        return chord if abs(half) < 1e-9 else chord * half / float(np.sin(half))

    def heading_rad(self, share: float) -> float:
        """Direction of travel at a share of the way, 0..1."""
        dx, dy = np.subtract(self.end_xy_m, self.start_xy_m)
        return float(np.arctan2(dy, dx) + (share - 0.5) * self.bend_rad)


@dataclass(frozen=True, eq=False)
class Route:
    """A way as it is walked.

    Attributes:
        places: float64 [K+1,2] metres, one a phase of the stride; turns: float64 [K+1] radians,
            how far the body is turned from walking towards -y.
        first_phase: of the stride, in strides.
        stride_s: seconds of a stride.
    """

    places: NDArray[np.float64]
    turns: NDArray[np.float64]
    first_phase: float
    stride_s: float

    @property
    def duration_s(self) -> float:
        """How long the walk takes."""
        return (len(self.turns) - 1) / PHASES * self.stride_s

    def at(self, time_s: float) -> tuple[NDArray[np.float64], float, float]:
        """Place [2], turn (radians) and phase (strides) at a time since the start."""
        step = min(max(time_s / self.stride_s * PHASES, 0.0), len(self.turns) - 1.0)
        low = min(int(step), len(self.turns) - 2)
        part = step - low
        place = self.places[low] * (1 - part) + self.places[low + 1] * part
        turn = float(self.turns[low] * (1 - part) + self.turns[low + 1] * part)
        return place, turn, self.first_phase + step / PHASES


def walk_route(arc: Arc, stride: Stride3d, first_phase: float = 0.0) -> Route:
    """Walk an arc in strides; begins and ends within a step of where the arc does."""
    length = arc.length_m
    first = round(first_phase * PHASES)
    mean_step = float(np.linalg.norm(stride.path[-1])) / PHASES
    count = max(2, int(np.ceil(length / mean_step)))
    phases = (first + np.arange(count)) % PHASES
    steps = np.diff(stride.path, axis=0)[phases]
    shares = np.arange(count + 1) / count
    turns = arc.heading_rad(0.0) + shares * arc.bend_rad - UNTURNED_RAD
    now, after = _turned(turns[:-1]), _turned(turns[1:])
    moved = (now @ steps[..., None])[..., 0]
    # Turning about the standing foot moves the body.
    moved += ((now - after) @ stride.bearing[phases][..., None])[..., 0]
    places = np.concatenate([np.zeros((1, 2)), np.cumsum(moved, axis=0)])
    # The way is the arc's on the whole: its middle lies in the middle.
    middle = 0.5 * (np.array(arc.start_xy_m) + np.array(arc.end_xy_m))
    return Route(
        places + middle - 0.5 * (places[0] + places[-1]), turns, first / PHASES, stride.duration_s
    )


def _turned(angles: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rotations [...,2,2] of the floor."""
    cos, sin = np.cos(angles), np.sin(angles)
    return np.stack([np.stack([cos, -sin], -1), np.stack([sin, cos], -1)], -2)


def turn_about_z(angle: float) -> NDArray[np.float64]:
    """Rotation [3,3] about the world's z."""
    out = np.eye(3)
    out[:2, :2] = _turned(np.array(angle))
    return out


def placed(moment: Moment, place: NDArray[np.float64], turn: float) -> Moment:
    """A moment at the origin, carried to its place."""
    rotation = turn_about_z(turn)
    lean = rotation.astype(np.float32)
    shift = np.array([*place, 0.0])
    return Moment(
        moment.vertices @ lean.T + shift.astype(np.float32),
        moment.normals @ lean.T,
        moment.pose,
        moment.joints @ rotation.T + shift,
        rotation @ moment.turn,
    )
