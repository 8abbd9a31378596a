"""Reader for BVH motion files (Biovision hierarchy): a joint tree and its rotations per frame.

Rotations are intrinsic Euler angles in degrees in the order in which a joint declares its
channels, so a joint with `Zrotation Yrotation Xrotation` turns by Rz · Ry · Rx. Lengths keep
the file's unit, axes are the file's own (the CMU files: y up, facing +z).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

MAX_FILE_BYTES = 256 * 1024 * 1024
MAX_JOINTS = 1024
AXES = "XYZ"
CHANNEL_NAMES = tuple(f"{axis}{kind}" for kind in ("position", "rotation") for axis in AXES)


class BvhError(ValueError):
    """A file that is no readable BVH: names file, line, what was expected and what came."""


@dataclass(frozen=True)
class Bvh:
    """One motion clip; J joints, T frames.

    names: J joint names, parents before children; the first is the root.
    parents: [J] int64, -1 for the root.
    offsets: [J, 3] float64, from the parent's joint in the zero-rotation pose, file units.
    rotations: [T, J, 3, 3] float64, each joint relative to its parent.
    root_positions: [T, 3] float64, file units.
    frame_time_s: seconds between frames.
    """

    names: tuple[str, ...]
    parents: NDArray[np.int64]
    offsets: NDArray[np.float64]
    rotations: NDArray[np.float64]
    root_positions: NDArray[np.float64]
    frame_time_s: float


@dataclass
class _Lines:
    """The file's non-empty lines with their numbers; knows how to complain."""

    source: str
    rows: list[tuple[int, list[str]]]
    at: int = 0

    def fail(self, line: int, expected: str, got: str) -> BvhError:
        shown = got if len(got) <= 60 else got[:57] + "..."
        return BvhError(f"{self.source} line {line}: expected {expected}, got {shown!r}")

    def next(self, expected: str) -> tuple[int, list[str]]:
        if self.at >= len(self.rows):
            last = self.rows[-1][0] if self.rows else 0
            raise BvhError(f"{self.source} line {last}: expected {expected}, got the end of file")
        row = self.rows[self.at]
        self.at += 1
        return row

    def keyword(self, *words: str) -> tuple[int, list[str]]:
        """The next line, which has to begin with these words; returns what follows them."""
        line, tokens = self.next(" ".join(words))
        if [t.lower() for t in tokens[: len(words)]] != [w.lower() for w in words]:
            raise self.fail(line, " ".join(words), " ".join(tokens))
        return line, tokens[len(words) :]

    def numbers(self, line: int, tokens: list[str], count: int, what: str) -> NDArray[np.float64]:
        if len(tokens) != count:
            raise self.fail(line, f"{count} numbers ({what})", f"{len(tokens)} values")
        try:
            values = np.array(tokens, dtype=np.float64)
        except ValueError:
            raise self.fail(line, f"{count} numbers ({what})", _first_odd(tokens)) from None
        if not np.isfinite(values).all():
            raise self.fail(line, f"finite numbers ({what})", _first_odd(tokens))
        return values


def _first_odd(tokens: list[str]) -> str:
    """The first that is no finite number, and where it stands: a row may have hundreds."""
    for place, token in enumerate(tokens, 1):
        try:
            good = math.isfinite(float(token))
        except ValueError:
            good = False
        if not good:
            return f"{token} as value {place}"
    return " ".join(tokens)


@dataclass
class _Tree:
    """What the hierarchy part declares, filled joint by joint."""

    names: list[str] = field(default_factory=list)
    parents: list[int] = field(default_factory=list)
    offsets: list[NDArray[np.float64]] = field(default_factory=list)
    channels: list[list[str]] = field(default_factory=list)


def read_bvh(path: str | Path) -> Bvh:
    """Read a BVH file; raises `BvhError` for a broken one and OSError for one that is not there."""
    path = Path(path)
    size = path.stat().st_size
    if size > MAX_FILE_BYTES:
        raise BvhError(f"{path}: expected at most {MAX_FILE_BYTES} bytes, got {size}")
    return parse_bvh(path.read_text(encoding="utf-8-sig", errors="replace"), str(path))


def parse_bvh(text: str, source: str = "bvh") -> Bvh:
    """Read BVH text; `source` names it in errors."""
    rows = [(n, line.split()) for n, line in enumerate(text.splitlines(), 1)]
    lines = _Lines(source, [(n, tokens) for n, tokens in rows if tokens])
    lines.keyword("HIERARCHY")
    tree = _read_hierarchy(lines)
    values, frame_time_s = _read_motion(lines, sum(len(c) for c in tree.channels))
    rotations, positions = _assemble(tree.channels, values)
    return Bvh(
        names=tuple(tree.names),
        parents=np.array(tree.parents, dtype=np.int64),
        offsets=np.array(tree.offsets),
        rotations=rotations,
        root_positions=positions,
        frame_time_s=frame_time_s,
    )


def _read_hierarchy(lines: _Lines) -> _Tree:
    """The ROOT block. A stack, not recursion: depth in a hostile file is not ours to trust."""
    tree = _Tree()
    line, rest = lines.keyword("ROOT")
    stack = [_open_joint(lines, tree, line, rest, parent=-1)]
    while stack:
        line, tokens = lines.next("JOINT, End Site or }")
        word = tokens[0].lower()
        if word == "joint":
            stack.append(_open_joint(lines, tree, line, tokens[1:], parent=stack[-1]))
        elif [t.lower() for t in tokens] == ["end", "site"]:
            _skip_end_site(lines)
        elif tokens == ["}"]:
            stack.pop()
        else:
            raise lines.fail(line, "JOINT, End Site or }", " ".join(tokens))
    return tree


def _open_joint(lines: _Lines, tree: _Tree, line: int, rest: list[str], parent: int) -> int:
    """Read a joint's head up to its channels; returns its index."""
    if not rest:
        raise lines.fail(line, "a joint name", "nothing")
    name = " ".join(rest)
    if name in tree.names:
        raise lines.fail(line, "a joint name not used before", name)
    if len(tree.names) >= MAX_JOINTS:
        raise lines.fail(line, f"at most {MAX_JOINTS} joints", name)
    lines.keyword("{")
    at, tokens = lines.keyword("OFFSET")
    offset = lines.numbers(at, tokens, 3, f"offset of {name}")
    channels = _read_channels(lines, name, is_root=parent < 0)
    tree.names.append(name)
    tree.parents.append(parent)
    tree.offsets.append(offset)
    tree.channels.append(channels)
    return len(tree.names) - 1


def _read_channels(lines: _Lines, name: str, is_root: bool) -> list[str]:
    line, tokens = lines.keyword("CHANNELS")
    if not tokens or not tokens[0].isdecimal() or int(tokens[0]) != len(tokens) - 1:
        raise lines.fail(line, "a count and that many channel names", " ".join(tokens))
    names = tokens[1:]
    for channel in names:
        if channel not in CHANNEL_NAMES:
            raise lines.fail(line, "one of " + ", ".join(CHANNEL_NAMES), channel)
        if channel.endswith("position") and not is_root:
            # Stretching limbs would need offsets per frame; better said than dropped.
            raise lines.fail(line, f"rotation channels only below the root ({name})", channel)
    if len(set(names)) != len(names):
        raise lines.fail(line, "each channel once", " ".join(names))
    return names


def _skip_end_site(lines: _Lines) -> None:
    lines.keyword("{")
    at, tokens = lines.keyword("OFFSET")
    lines.numbers(at, tokens, 3, "offset of an end site")
    lines.keyword("}")


def _read_motion(lines: _Lines, width: int) -> tuple[NDArray[np.float64], float]:
    """The MOTION block: values [T, width] and the frame time in seconds."""
    lines.keyword("MOTION")
    line, tokens = lines.keyword("Frames:")
    if len(tokens) != 1 or not tokens[0].isdecimal() or int(tokens[0]) == 0:
        raise lines.fail(line, "a number of frames above 0", " ".join(tokens))
    frames = int(tokens[0])
    line, tokens = lines.keyword("Frame", "Time:")
    frame_time = float(lines.numbers(line, tokens, 1, "frame time in seconds")[0])
    if frame_time <= 0:
        raise lines.fail(line, "a frame time above 0 s", tokens[0])
    found = len(lines.rows) - lines.at
    if found != frames:  # checked before the array is made
        raise lines.fail(lines.rows[-1][0], f"{frames} frames of motion", f"{found} lines")
    return np.stack(list(_motion_rows(lines, width))), frame_time


def _motion_rows(lines: _Lines, width: int) -> Iterator[NDArray[np.float64]]:
    for line, tokens in lines.rows[lines.at :]:
        yield lines.numbers(line, tokens, width, "one per channel")


def _assemble(
    channels: list[list[str]], values: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Channel values [T, C] to rotations [T, J, 3, 3] and root positions [T, 3]."""
    rotations = np.tile(np.eye(3), (len(values), len(channels), 1, 1))
    positions = np.zeros((len(values), 3))
    column = 0
    for joint, names in enumerate(channels):
        for name in names:
            axis = AXES.index(name[0])
            if name.endswith("position"):
                positions[:, axis] = values[:, column]
            else:
                turn = axis_rotation(axis, np.radians(values[:, column]))
                rotations[:, joint] = rotations[:, joint] @ turn
            column += 1
    return rotations, positions


def axis_rotation(axis: int, angle_rad: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rotations [T, 3, 3] about one coordinate axis (0 x, 1 y, 2 z), right-handed, radians."""
    cos, sin = np.cos(angle_rad), np.sin(angle_rad)
    out = np.zeros((*angle_rad.shape, 3, 3))
    i, j = (axis + 1) % 3, (axis + 2) % 3
    out[..., axis, axis] = 1.0
    out[..., i, i] = cos
    out[..., j, j] = cos
    out[..., i, j] = -sin
    out[..., j, i] = sin
    return out
