"""A population of gaits, from which as many walkers as wanted are drawn.

The population is what the strides of a few dozen motion clips have in common and how they differ: a
mean, the directions in which people differ from each other, and those in which one person's walks
differ from each other, all on the Fourier series of stages/human/walkers/cycles.py. A new walker is
the mean plus normal numbers along these directions, so people come out as different as those who
were measured, and none is any of them. A dozen people and their mirror images span two dozen
directions, and nobody's arms go so strictly with their legs: only a quarter of the variance is
therefore drawn for the whole body at once, the rest limb by limb, joint by joint and number by
number (a covariance shrunk towards its own blocks and diagonal; Ledoit and Wolf, "A
Well-Conditioned Estimator for Large-Dimensional Covariance Matrices", 2004), which foretells
somebody who was left out nearly best (docs/decisions/008-gaits-limb-by-limb.md). On top come styles
that mocap of a few people cannot teach (carried shoulders, toes out, a lazy arm), fixed for each
walker.

The shipped file (data/gaits.npz, made by scripts/make_gait_population.py) holds two populations
from different people, `train` and `test`, so that what is learnt from one can be tried on gaits
that no training has seen. Its motion was obtained from mocap.cs.cmu.edu (created with funding from
NSF EIA-0196217).

Letters: T frames, D numbers of a stride (13 x 72 of its series, then log duration and log pace).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import InputError
from stages.human.joints import SMPL_JOINT_NAMES
from stages.human.walkers.cycles import COORDINATES, TERMS, Stride, mirrored, waves

Floats = NDArray[np.float64]
Split = Literal["train", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)

FORMAT_VERSION = 1
GAITS_FILE = Path(__file__).parent / "data" / "gaits.npz"
NUMBERS = TERMS * COORDINATES + 2
# Directions kept of how one person's walks differ; the rest is capture noise.
WITHIN_DIRECTIONS = 12
# Normal numbers beyond this are cut: the tails of a fit to a few dozen people are nobody's gait.
MAX_DEVIATION = 2.2
# Shares of the variance: of the body as a whole, of each limb, joint and number for itself.
WHOLE, BY_LIMB, BY_JOINT, BY_NUMBER = 0.25, 0.5, 0.15, 0.1
DURATION_RANGE_S = (0.8, 1.6)
PACE_RANGE_HZ = (0.8, 2.6)

_J = {name: place for place, name in enumerate(SMPL_JOINT_NAMES)}
_ARMS = {side: [_J[f"{side}_shoulder"], _J[f"{side}_elbow"]] for side in ("left", "right")}
_LEGS = {side: [_J[f"{side}_{j}"] for j in ("hip", "knee", "ankle")] for side in ("left", "right")}
_TRUNK = [_J[name] for name in ("pelvis", "spine1", "spine2", "spine3")]
_HANDS = [_J["left_hand"], _J["right_hand"]]
# Legs first, with the pelvis that carries them.
_LIMBS = (
    [_J["pelvis"], *_LEGS["left"], *_LEGS["right"], _J["left_foot"], _J["right_foot"]],
    [j for name, j in _J.items() if name.endswith(("collar", "shoulder", "elbow", "wrist"))],
    [_J[name] for name in ("spine1", "spine2", "spine3")],
    [_J["neck"], _J["head"]],
)


@dataclass(frozen=True)
class Style:
    """What a walker adds to the drawn stride; angles in radians, factors of the swing.

    Attributes:
        arm_swing, leg_swing: factors, left and right.
        trunk_sway: factor on pelvis and spine.
        lean, nod: of the trunk and of the head, forwards.
        toes_out, arms_out: outwards, left and right.
        elbow_bend: factor on how far elbows are bent on average.
    """

    arm_swing: tuple[float, float] = (1.0, 1.0)
    leg_swing: tuple[float, float] = (1.0, 1.0)
    trunk_sway: float = 1.0
    lean: float = 0.0
    nod: float = 0.0
    toes_out: tuple[float, float] = (0.0, 0.0)
    arms_out: tuple[float, float] = (0.0, 0.0)
    elbow_bend: float = 1.0


@dataclass(frozen=True, eq=False)
class Gait:
    """How somebody walks.

    Attributes:
        series: float64 [13,72], see `cycles.Stride`.
        duration_s: of a stride.
        pace_hz: speed over leg length, 1/s.
    """

    series: Floats
    duration_s: float
    pace_hz: float

    def pose(self, phase: Floats) -> Floats:
        """Pose [T,72] (axis-angle, radians; walking to +z, y up) at phases [T] in strides."""
        return np.asarray(waves(phase) @ self.series)


@dataclass(frozen=True, eq=False)
class Population:
    """Mean [D]; between [b,D] and within [w,D], one row a standard deviation along a direction.

    Attributes:
        planted: draw legs whole and limb by limb only, for pictures in which one sees a foot
            slide: hip, knee and ankle that are drawn one by one do not fit each other.
    """

    mean: Floats
    between: Floats
    within: Floats
    planted: bool = False

    def draw(self, rng: np.random.Generator, spread: float = 1.0) -> Floats:
        """The numbers [D] of somebody new; `spread` of 1 differs as the measured people do."""
        return np.asarray(self.mean + spread * self._mixed(rng, self.between))

    def another_day(self, rng: np.random.Generator, spread: float) -> Floats:
        """What to add to somebody's numbers [D] for one of their walks."""
        return np.asarray(spread * self._mixed(rng, self.within))

    def _mixed(self, rng: np.random.Generator, rows: Floats) -> Floats:
        """Numbers [D] of the covariance of `rows` [r,D], shrunk towards its blocks."""
        drawn = np.sqrt(WHOLE) * _normal(rng, len(rows)) @ rows
        for limb in _limbs():
            drawn[limb] += np.sqrt(BY_LIMB) * _normal(rng, len(rows)) @ rows[:, limb]
        alone = np.zeros(NUMBERS)
        for joint in _joints():
            alone[joint] = np.sqrt(BY_JOINT) * _normal(rng, len(rows)) @ rows[:, joint]
        alone += np.sqrt(BY_NUMBER) * _normal(rng, NUMBERS) * np.sqrt(np.square(rows).sum(axis=0))
        if self.planted:
            legs = _limbs()[0]
            drawn[legs] /= np.sqrt(WHOLE + BY_LIMB)
            alone[legs] = 0.0
        return np.asarray(drawn + alone)


def gait_of(numbers: Floats) -> Gait:
    """A gait from D numbers; duration and pace are held to what people do."""
    duration_s, pace_hz = np.exp(numbers[-2:])
    return Gait(
        numbers[:-2].reshape(TERMS, COORDINATES),
        float(np.clip(duration_s, *DURATION_RANGE_S)),
        float(np.clip(pace_hz, *PACE_RANGE_HZ)),
    )


def numbers_of(stride: Stride) -> Floats:
    """The D numbers of a measured stride, hands in line with their wrists.

    What mocap says of hands is noise, now and then half a turn, and it would be the largest part
    of what people differ by.
    """
    series = stride.series.reshape(TERMS, 24, 3).copy()
    series[:, _HANDS] = 0.0
    return np.concatenate([series.ravel(), np.log([stride.duration_s, stride.pace_hz])])


@cache
def _limbs() -> tuple[NDArray[np.intp], ...]:
    """Places in D of each limb's numbers; how long and fast a stride is belongs to the legs."""
    places = np.arange(TERMS * COORDINATES).reshape(TERMS, 24, 3)
    legs, *others = (places[:, limb].ravel() for limb in _LIMBS)
    return np.concatenate([legs, [NUMBERS - 2, NUMBERS - 1]]), *others


@cache
def _joints() -> tuple[NDArray[np.intp], ...]:
    """Places in D of each joint's numbers, and last of how long and fast a stride is."""
    places = np.arange(TERMS * COORDINATES).reshape(TERMS, 24, 3)
    return *(places[:, j].ravel() for j in range(24)), np.array([NUMBERS - 2, NUMBERS - 1])


def draw_style(rng: np.random.Generator, amount: float = 1.0) -> Style:
    """A style; `amount` scales how far it strays, 0 adds nothing."""

    def factor(spread: float) -> float:
        return float(np.exp(amount * spread * rng.standard_normal()))

    def angle(spread: float) -> float:
        return float(amount * spread * rng.standard_normal())

    arms, legs, toes, out = factor(0.22), factor(0.07), angle(0.08), angle(0.06)
    return Style(
        arm_swing=(arms * factor(0.15), arms * factor(0.15)),
        leg_swing=(legs * factor(0.03), legs * factor(0.03)),
        trunk_sway=factor(0.2),
        lean=angle(0.05),
        nod=angle(0.12),
        toes_out=(toes + angle(0.03), toes + angle(0.03)),
        arms_out=(out + angle(0.03), out + angle(0.03)),
        elbow_bend=factor(0.2),
    )


def styled(gait: Gait, style: Style) -> Gait:
    """The gait with a style on top of it."""
    series = gait.series.reshape(TERMS, 24, 3).copy()
    for place, (side, outwards) in enumerate((("left", 1.0), ("right", -1.0))):
        series[1:, _ARMS[side]] *= style.arm_swing[place]
        series[1:, _LEGS[side]] *= style.leg_swing[place]
        series[0, _J[f"{side}_hip"], 1] += outwards * style.toes_out[place]
        # Arms hang from a T pose by a turn about z: out is less of it.
        series[0, _J[f"{side}_shoulder"], 2] += outwards * style.arms_out[place]
        series[0, _J[f"{side}_elbow"]] *= style.elbow_bend
    series[1:, _TRUNK] *= style.trunk_sway
    series[0, _J["spine1"], 0] += style.lean
    series[0, _J["neck"], 0] += style.nod - style.lean
    stretch = float(np.mean(style.leg_swing))
    return Gait(series.reshape(TERMS, COORDINATES), gait.duration_s, gait.pace_hz * stretch)


def _normal(rng: np.random.Generator, count: int) -> Floats:
    return np.clip(rng.standard_normal(count), -MAX_DEVIATION, MAX_DEVIATION)


def population_of(strides: Sequence[tuple[str, Stride]]) -> Population:
    """The population of measured strides, each with its subject; everybody counts the same.

    Mirror images count as further people: nobody's left differs from their right by law.

    Raises:
        InputError: fewer than three subjects.
    """
    rows: dict[tuple[str, bool], list[Floats]] = {}
    for subject, stride in strides:
        flipped = Stride(mirrored(stride.series), stride.duration_s, stride.pace_hz, stride.misfit)
        rows.setdefault((subject, False), []).append(numbers_of(stride))
        rows.setdefault((subject, True), []).append(numbers_of(flipped))
    if len(rows) < 6:
        raise InputError(
            f"a population of gaits needs at least 3 subjects, got {len(rows) // 2}",
            hint="Give clips of more people.",
        )
    means = np.stack([np.mean(walks, axis=0) for walks in rows.values()])
    mean = means.mean(axis=0)
    apart = [walk - np.mean(walks, axis=0) for walks in rows.values() for walk in walks]
    freedom = max(1, len(apart) - len(rows))
    return Population(
        mean,
        _directions((means - mean) / np.sqrt(len(means) - 1), len(means) - 1),
        _directions(np.stack(apart) / np.sqrt(freedom), WITHIN_DIRECTIONS),
    )


def _directions(deviations: Floats, count: int) -> Floats:
    """Principal directions [count,D] of rows, as long as one standard deviation."""
    _, lengths, basis = np.linalg.svd(deviations, full_matrices=False)
    kept = basis[:count] * lengths[:count, None]
    # A direction's sign means nothing; fixed, so that the file does not depend on the library.
    return kept * np.sign(kept[np.arange(len(kept)), np.abs(kept).argmax(axis=1)])[:, None]


def save_populations(path: Path, populations: dict[str, Population], source: str) -> None:
    """Write populations by split; the same ones give the same bytes."""
    fields: dict[str, Any] = {
        "format_version": np.int64(FORMAT_VERSION),
        "source": np.array(source),
    }
    for split, population in populations.items():
        fields[f"{split}_mean"] = population.mean.astype(np.float32)
        fields[f"{split}_between"] = population.between.astype(np.float16)
        fields[f"{split}_within"] = population.within.astype(np.float16)
    np.savez_compressed(path, **fields)


def load_population(split: Split, path: Path = GAITS_FILE) -> Population:
    """Read one population of a file.

    Raises:
        InputError: the file is missing, damaged, or holds no such population.
    """
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            fields = {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        raise InputError(f"{path} is no readable population of gaits: {error}") from error
    names = [f"{split}_{part}" for part in ("mean", "between", "within")]
    missing = [name for name in ("format_version", *names) if name not in fields]
    if missing or int(fields["format_version"]) != FORMAT_VERSION:
        raise InputError(
            f"{path}: expected a population of gaits of version {FORMAT_VERSION} with "
            f"{', '.join(names)}, got {', '.join(sorted(fields))}"
        )
    mean, between, within = (fields[name].astype(np.float64) for name in names)
    good = mean.shape == (NUMBERS,) and all(
        part.ndim == 2 and part.shape[1] == NUMBERS and len(part) for part in (between, within)
    )
    if not good or not all(np.isfinite(part).all() for part in (mean, between, within)):
        raise InputError(f"{path}: expected finite rows of {NUMBERS} numbers, got others")
    return Population(mean, between, within)
