"""A population of gaits from a user's own motion clips."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import InputError
from stages.human.bvh import BvhError, read_bvh
from stages.human.walkers.bodies import load_walker_skeleton
from stages.human.walkers.closing import RetargetError
from stages.human.walkers.cycles import Stride, cut_stride
from stages.human.walkers.gaits import Population, population_of

NAMED = 5
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

    def population(self) -> Population:
        """Return the population of these strides.

        Raises:
            InputError: too few people walk in the clips.
        """
        try:
            return population_of(self.strides)
        except InputError as error:
            raise InputError(error.message + named(self.left_out), hint=HINT) from error


def read_clips(folder: Path, on_progress: Callable[[int, int], None] | None = None) -> Clips:
    """Read a folder of BVH files; those that cannot be used are left out.

    Who walks is the file's name up to the first underscore.

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
    for done, path in enumerate(paths):
        try:
            strides.append((path.stem.partition("_")[0], cut_stride(read_bvh(path), rest)))
            digests[path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
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


def named(left_out: tuple[LeftOut, ...]) -> str:
    """Return the first of them as lines."""
    lines = "".join(f"\n  {one.name}: {one.reason}" for one in left_out[:NAMED])
    more = f"\n  and {len(left_out) - NAMED} more" if len(left_out) > NAMED else ""
    return lines + more
