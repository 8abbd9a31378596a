"""Gaits from a user's own clips: what is used, what is left out and why, what is too little."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pipeline.cli.synthesis.mocap import LeftOut, named, read_clips
from pipeline.errors import InputError
from stages.human.bvh import Bvh
from stages.human.walkers.gaits import gait_of, load_population
from tests.unit.walkers.walks import FPS, clip_of


def bvh_text(clip: Bvh) -> str:
    """A clip as a file has it; angles as Z, Y and X."""
    children: dict[int, list[int]] = {}
    for joint, parent in enumerate(clip.parents):
        children.setdefault(int(parent), []).append(joint)
    order: list[int] = []

    def block(joint: int, word: str) -> list[str]:
        order.append(joint)
        x, y, z = clip.offsets[joint]
        places = "3 Zrotation Yrotation Xrotation"
        if word == "ROOT":
            places = "6 Xposition Yposition Zposition Zrotation Yrotation Xrotation"
        lines = [f"{word} {clip.names[joint]}", "{", f"OFFSET {x} {y} {z}", f"CHANNELS {places}"]
        for child in children.get(joint, []):
            lines += block(child, "JOINT")
        if joint not in children:
            lines += ["End Site", "{", "OFFSET 0 0.1 0", "}"]
        return [*lines, "}"]

    head = ["HIERARCHY", *block(0, "ROOT")]
    m = clip.rotations[:, order]
    angles = np.degrees(
        np.stack(
            [
                np.arctan2(m[..., 1, 0], m[..., 0, 0]),
                np.arcsin(np.clip(-m[..., 2, 0], -1, 1)),
                np.arctan2(m[..., 2, 1], m[..., 2, 2]),
            ],
            axis=-1,
        )
    )
    rows = np.concatenate([clip.root_positions, angles.reshape(len(m), -1)], axis=1)
    motion = [" ".join(f"{value:.6f}" for value in row) for row in rows]
    return "\n".join([*head, "MOTION", f"Frames: {len(m)}", f"Frame Time: {1 / FPS}", *motion])


@pytest.fixture(scope="module")
def walks() -> list[str]:
    """Files of three people."""
    population = load_population("train")
    gaits = [gait_of(population.draw(np.random.default_rng(k), 0.5)) for k in range(3)]
    return [bvh_text(clip_of(gait, 2.0)) for gait in gaits]


def test_smoke_usable_clips_make_a_population(walks: list[str], tmp_path: Path) -> None:
    for number, text in enumerate(walks):
        (tmp_path / f"{number:02d}_01.bvh").write_text(text, encoding="utf-8")
    (tmp_path / "03_01.bvh").write_text("HIERARCHY\nROOT Hips\n{", encoding="utf-8")
    other = walks[0].replace("LeftUpLeg", "Oberschenkel")
    (tmp_path / "04_01.bvh").write_text(other, encoding="utf-8")
    standing = walks[1].splitlines()
    first = standing.index("MOTION") + 3
    standing[first:] = [standing[first]] * (len(standing) - first)
    (tmp_path / "05_01.BVH").write_text("\n".join(standing), encoding="utf-8")
    (tmp_path / "readme.txt").write_text("no clip", encoding="utf-8")
    told: list[tuple[int, int]] = []
    clips = read_clips(tmp_path, lambda done, of: told.append((done, of)))
    assert [whose for whose, _ in clips.strides] == ["00", "01", "02"]
    assert clips.people == ("00", "01", "02")
    first_file = tmp_path / "00_01.bvh"
    assert clips.digests["00_01.bvh"] == hashlib.sha256(first_file.read_bytes()).hexdigest()
    reasons = {one.name: one.reason for one in clips.left_out}
    assert list(reasons) == ["03_01.bvh", "04_01.bvh", "05_01.BVH"]
    assert "line 3" in reasons["03_01.bvh"]
    assert "none called LeftUpLeg" in reasons["04_01.bvh"]
    assert "does the clip walk" in reasons["05_01.BVH"]
    assert told[-1] == (6, 6)
    population = clips.population()
    assert len(population.between) == 5, "three people and their mirror images, less the mean"


def test_exception_too_few_people(walks: list[str], tmp_path: Path) -> None:
    (tmp_path / "7_1.bvh").write_text(walks[0], encoding="utf-8")
    (tmp_path / "7_2.bvh").write_text(walks[1], encoding="utf-8")
    with pytest.raises(InputError, match=r"at least 3 subjects, got 1 \(7\)"):
        read_clips(tmp_path).population()


def test_exception_one_clip_under_two_names_is_no_second_person(
    walks: list[str], tmp_path: Path
) -> None:
    for name in ("a_1", "b_1", "c_1"):
        (tmp_path / f"{name}.bvh").write_text(walks[0], encoding="utf-8")
    clips = read_clips(tmp_path)
    assert clips.people == ("a",)
    assert [one.reason for one in clips.left_out] == ["is the same as a_1.bvh"] * 2


def with_frames(text: str, count: int, time_s: float) -> str:
    lines = text.splitlines()
    motion = lines.index("MOTION")
    head = [f"Frames: {count}", f"Frame Time: {time_s}"]
    return "\n".join([*lines[: motion + 1], *head, *lines[motion + 3 :][:count]])


def turned(text: str) -> str:
    """The clip with z upwards: x stays, y goes to z."""
    lines = text.splitlines()
    for place, line in enumerate(lines):
        if line.startswith("OFFSET"):
            x, y, z = map(float, line.split()[1:])
            lines[place] = f"OFFSET {x} {-z} {y}"
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        (lambda text: with_frames(text, 100, 8.33), "8.33 s: is it in seconds"),
        (lambda text: with_frames(text, 100, 1e-6), "expected 10 to 1000 frames a second"),
        (lambda text: with_frames(text, 1, 1 / FPS), "at least 97 frames, .* got 1"),
        (lambda text: with_frames(text, 2, 0.1), "at least 9 frames, .* got 2"),
        (turned, r"expected y upwards, .* got \(0.0, -?0.0, -1.0\)"),
    ],
)
def test_exception_clips_in_other_units(
    walks: list[str], tmp_path: Path, changed: Callable[[str], str], says: str
) -> None:
    (tmp_path / "a_1.bvh").write_text(changed(walks[0]), encoding="utf-8")
    with pytest.raises(InputError, match=says):
        read_clips(tmp_path)


def test_exception_nothing_usable(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no folder"):
        read_clips(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"holds no \.bvh file"):
        read_clips(tmp_path)
    for number in range(7):
        (tmp_path / f"{number}_1.bvh").write_text("MOTION", encoding="utf-8")
    with pytest.raises(
        InputError, match=r"none of 7 clips .*\n  0_1.bvh and 6 more: .*HIERA"
    ) as told:
        read_clips(tmp_path)
    assert told.value.message.count("\n") == 1 and "CMU skeleton" in told.value.hint
    many = tuple(LeftOut(f"{number}.bvh", f"reason {number}") for number in range(8))
    assert named(many).count("\n") == 6 and named(many).endswith("and 3 more")
