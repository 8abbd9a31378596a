"""Joint tables agree with one another."""

from stages.human import joints


def test_shape_of_tables():
    assert len(joints.SMPL_JOINT_NAMES) == len(set(joints.SMPL_JOINT_NAMES)) == 24
    assert len(joints.COCO_KEYPOINT_NAMES) == len(set(joints.COCO_KEYPOINT_NAMES)) == 17
    assert len(joints.MEDIAPIPE_LANDMARK_NAMES) == len(set(joints.MEDIAPIPE_LANDMARK_NAMES)) == 33


def test_parents_come_before_children():
    assert joints.SMPL_PARENTS[0] == -1
    assert all(0 <= p < j for j, p in enumerate(joints.SMPL_PARENTS) if j)
    names = joints.SMPL_JOINT_NAMES
    parent_of = {names[j]: names[p] for j, p in enumerate(joints.SMPL_PARENTS) if j}
    assert parent_of["left_elbow"] == "left_shoulder"
    assert parent_of["right_foot"] == "right_ankle"
    assert parent_of["neck"] == "spine3"


def _swapped(name: str) -> str:
    if "left" in name:
        return name.replace("left", "right")
    return name.replace("right", "left")


def test_flips_swap_left_and_right():
    for names, flip in (
        (joints.SMPL_JOINT_NAMES, joints.SMPL_FLIP),
        (joints.COCO_KEYPOINT_NAMES, joints.COCO_FLIP),
    ):
        assert [names[i] for i in flip] == [_swapped(name) for name in names]


def test_mediapipe_to_coco_goes_by_name():
    chosen = [joints.MEDIAPIPE_LANDMARK_NAMES[i] for i in joints.MEDIAPIPE_TO_COCO]
    assert tuple(chosen) == joints.COCO_KEYPOINT_NAMES


def test_shared_points_go_by_name():
    for smpl, coco in joints.SMPL_COCO_PAIRS:
        assert joints.SMPL_JOINT_NAMES[smpl] == joints.COCO_KEYPOINT_NAMES[coco]


def test_edges_join_existing_points():
    assert {i for edge in joints.COCO_EDGES for i in edge} == set(range(17))
