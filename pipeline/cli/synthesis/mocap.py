"""A population of gaits from a user's own motion clips."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.errors import InputError
from stages.human.bvh import Bvh, BvhError, read_bvh
from stages.human.walkers.bodies import load_walker_skeleton
from stages.human.walkers.closing import STRIDE_RANGE_S, RetargetError
from stages.human.walkers.cycles import Stride, clip_name, cut_stride
from stages.human.walkers.gaits import Population, population_of

NAMED = 5
# Frames a second of motion capture; outside of it the frame time is in another unit than seconds.
RATE_RANGE_HZ = (10.0, 1000.0)
LEG_JOINTS = ("left_knee", "left_ankle", "right_knee", "right_ankle")
HINT = (
    "Expected walks in a straight line on the CMU skeleton, at least 3 people, as "
    "PERSON_TRIAL.bvh with a T pose as first frame."
)


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A clip that cannot be used: its file's name, and why."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True, eq=False)
class Clips:
    """Strides of clips, each with whose it is; sha256 of every usable file by name."""

    strides: tuple[tuple[str, Stride], ...]
    digests: dict[str, str]
    left_out: tuple[LeftOut, ...]

    @property
    def people(self) -> tuple[str, ...]:
        """Names of who walks in them."""
        return tuple(sorted({whose for whose, _ in self.strides}))

    def population(self) -> Population:
        """Return the population of these strides.

        Raises:
            InputError: too few people walk in the clips.
        """
        try:
            return population_of(self.strides)
        except InputError as error:
            told = f"{error.message} ({', '.join(self.people)})"
            raise InputError(told + named(self.left_out), hint=HINT) from error


def read_clips(folder: Path, on_progress: Callable[[int, int], None] | None = None) -> Clips:
    """Read a folder of BVH files; those that cannot be used are left out.

    Who walks is the file's name up to the first underscore. The same clip under a second name is
    left out: it would count as one more person.

    Raises:
        InputError: there is no folder, or no usable clip in it.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder", hint=HINT)
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() == ".bvh")
    if not paths:
        raise InputError(f"{folder} holds no .bvh file", hint=HINT)
    rest = load_walker_skeleton().joint_template
    strides: list[tuple[str, Stride]] = []
    digests: dict[str, str] = {}
    left_out: list[LeftOut] = []
    seen: dict[str, str] = {}  # the first file's name by its digest
    for done, path in enumerate(paths):
        try:
            clip = read_bvh(path)
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            if digest in seen:
                raise RetargetError(f"is the same as {seen[digest]}")
            _check(clip)
            strides.append((path.stem.partition("_")[0], cut_stride(clip, rest)))
            seen[digest] = path.name
            digests[path.name] = digest
        except (BvhError, RetargetError) as error:
            left_out.append(LeftOut(path.name, str(error).removeprefix(f"{path} ")))
        except OSError as error:
            left_out.append(LeftOut(path.name, error.strerror or str(error)))
        if on_progress is not None:
            on_progress(done + 1, len(paths))
    if not strides:
        reasons = named(tuple(left_out))
        raise InputError(f"none of {len(paths)} clips in {folder} can be used{reasons}", hint=HINT)
    return Clips(tuple(strides), digests, tuple(left_out))


def _check(clip: Bvh) -> None:
    """Check what a stride could not be cut from, or would be cut from wrongly.

    Raises:
        RetargetError: the frame time is in another unit, the clip is too short, or its up is not y.
    """
    low, high = RATE_RANGE_HZ
    if not 1 / high <= clip.frame_time_s <= 1 / low:
        raise RetargetError(
            f"expected {low:g} to {high:g} frames a second, got a frame time of "
            f"{clip.frame_time_s:g} s: is it in seconds?"
        )
    shortest = round(STRIDE_RANGE_S[0] / clip.frame_time_s) + 1  # and the T pose
    if len(clip.rotations) < shortest:
        raise RetargetError(
            f"expected at least {shortest} frames, a T pose and a stride of {STRIDE_RANGE_S[0]} s, "
            f"got {len(clip.rotations)}"
        )
    names = [clip_name(joint) for joint in LEG_JOINTS]
    if set(names) <= set(clip.names):  # if not, the skeleton is another one, which is told
        legs = clip.offsets[[clip.names.index(name) for name in names]].sum(axis=0)
        length = float(np.linalg.norm(legs))
        if length > 0 and legs[1] > -0.5 * length:
            x, y, z = legs / length
            raise RetargetError(
                "expected y upwards, so legs towards (0, -1, 0) in the skeleton's rest pose, got "
                f"({x:.1f}, {y:.1f}, {z:.1f})"
            )


def named(left_out: tuple[LeftOut, ...]) -> str:
    """Return the first of them as lines, those with one reason together."""
    by_reason: dict[str, list[str]] = {}
    for one in left_out:
        by_reason.setdefault(one.reason, []).append(one.name)
    reasons = list(by_reason.items())
    lines = [f"\n  {_together(names)}: {reason}" for reason, names in reasons[:NAMED]]
    rest = sum(len(names) for _, names in reasons[NAMED:])
    return "".join(lines) + (f"\n  and {rest} more" if rest else "")


def _together(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
