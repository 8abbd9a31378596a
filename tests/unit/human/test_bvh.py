"""The BVH reader: a small file by hand, and files broken in the ways files break."""

import numpy as np
import pytest

from stages.human.bvh import BvhError, axis_rotation, parse_bvh, read_bvh

SMALL = """HIERARCHY
ROOT Hips
{
  OFFSET 0 0 0
  CHANNELS 6 Xposition Yposition Zposition Zrotation Yrotation Xrotation
  JOINT Leg
  {
    OFFSET 1 -2 0.5
    CHANNELS 3 Xrotation Zrotation Yrotation
    End Site
    {
      OFFSET 0 -1 0
    }
  }
}
MOTION
Frames: 2
Frame Time: .008
0 0 0 0 0 0 0 0 0
1 2 3 90 0 0 30 40 50
"""


def test_golden_small_file(tmp_path):
    path = tmp_path / "small.bvh"
    path.write_text(SMALL)
    clip = read_bvh(path)
    assert clip.names == ("Hips", "Leg")
    assert clip.parents.tolist() == [-1, 0]
    assert clip.offsets.tolist() == [[0, 0, 0], [1, -2, 0.5]]
    assert clip.frame_time_s == 0.008
    assert clip.root_positions.tolist() == [[0, 0, 0], [1, 2, 3]]
    np.testing.assert_allclose(clip.rotations[0], np.tile(np.eye(3), (2, 1, 1)))
    np.testing.assert_allclose(clip.rotations[1, 0] @ [1, 0, 0], [0, 1, 0], atol=1e-12)


def test_smoke_a_byte_order_mark_is_no_part_of_it(tmp_path):
    path = tmp_path / "windows.bvh"
    path.write_text(SMALL, encoding="utf-8-sig")
    assert read_bvh(path).names == ("Hips", "Leg")


def test_golden_channel_order_is_the_files():
    clip = parse_bvh(SMALL)
    x, y, z = (axis_rotation(a, np.radians([v]))[0] for a, v in ((0, 30), (1, 50), (2, 40)))
    np.testing.assert_allclose(clip.rotations[1, 1], x @ z @ y, atol=1e-12)


def test_property_rotations_are_proper():
    clip = parse_bvh(SMALL)
    identity = clip.rotations @ clip.rotations.swapaxes(-1, -2)
    np.testing.assert_allclose(identity, np.broadcast_to(np.eye(3), identity.shape), atol=1e-12)
    np.testing.assert_allclose(np.linalg.det(clip.rotations), 1.0)


@pytest.mark.parametrize(
    ("old", "new", "line", "says"),
    [
        ("HIERARCHY", "HIERARCHIE", 1, "expected HIERARCHY, got 'HIERARCHIE'"),
        ("ROOT Hips", "ROOT", 2, "a joint name"),
        ("OFFSET 1 -2 0.5", "OFFSET 1 -2", 8, "3 numbers (offset of Leg)"),
        ("OFFSET 1 -2 0.5", "OFFSET 1 -2 x", 8, "got 'x as value 3'"),
        ("OFFSET 1 -2 0.5", "OFFSET 1 nan 0.5", 8, "finite numbers (offset of Leg), got 'nan as"),
        ("3 Xrotation Zrotation Yrotation", "4 Xrotation Zrotation Yrotation", 9, "a count"),
        ("3 Xrotation", "3 Xrotatoin", 9, "got 'Xrotatoin'"),
        ("3 Xrotation Zrotation", "3 Xrotation Xrotation", 9, "each channel once"),
        ("3 Xrotation", "3 Xposition", 9, "rotation channels only below the root (Leg)"),
        ("JOINT Leg", "JOINT Hips", 6, "not used before"),
        ("JOINT Leg", "JONT Leg", 6, "JOINT, End Site or }"),
        ("Frames: 2", "Frames: two", 17, "a number of frames above 0"),
        ("Frames: 2", "Frames: 900000000", 20, "900000000 frames of motion, got '2 lines'"),
        ("Frame Time: .008", "Frame Time: 0", 18, "above 0 s"),
        ("90 0 0 30 40 50", "90 0 0 30 40", 20, "9 numbers (one per channel), got '8 values'"),
        ("90 0 0 30 40 50", "90 0 0 30 40 5o", 20, "9 numbers"),
    ],
)
def test_exception_names_line_expected_and_got(old, new, line, says):
    assert old in SMALL
    with pytest.raises(BvhError) as error:
        parse_bvh(SMALL.replace(old, new, 1), "walk.bvh")
    assert f"walk.bvh line {line}: expected" in str(error.value)
    assert says in str(error.value)


@pytest.mark.parametrize("text", ["", "HIERARCHY\nROOT Hips\n{\n", SMALL.split("MOTION")[0]])
def test_exception_cut_file(text):
    with pytest.raises(BvhError, match="got the end of file"):
        parse_bvh(text)
