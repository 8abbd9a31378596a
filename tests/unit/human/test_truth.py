"""Ground truth: what is saved is read back, broken files are refused, and the demo's own file."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from stages.human.truth import (
    TruePose,
    Truth,
    TruthCamera,
    TruthError,
    TruthPerson,
    load_truth,
    save_truth,
)

DEMO = Path(__file__).resolve().parents[3] / "demo" / "truth.npz"


def small() -> Truth:
    mask = np.array([[1, 0, 1], [1, 1, 0]], dtype=bool)
    people = (
        TruthPerson(0, "Ada", (4, 1, 7, 3), (4, 1, 7, 5), 0.5, mask),
        TruthPerson(1, "Bo", (0, 0, 1, 1), (-3, 0, 1, 1), 0.25, np.ones((1, 1), bool)),
    )
    frames = ((), people, people[1:])
    one = TruthCamera("camera_a", np.eye(3), np.eye(3), np.zeros(3), (10, 6), 25.0, frames)
    return Truth(("Ada", "Bo"), (one, dataclasses.replace(one, name="camera_b", frames=((),))))


def test_golden_round_trip(tmp_path):
    save_truth(tmp_path / "truth.npz", small())
    truth = load_truth(tmp_path / "truth.npz")
    assert truth.names == ("Ada", "Bo")
    assert [c.name for c in truth.cameras] == ["camera_a", "camera_b"]
    assert [[p.name for p in f] for f in truth.cameras[0].frames] == [[], ["Ada", "Bo"], ["Bo"]]
    assert truth.cameras[1].frames == ((),)
    ada, wanted = truth.cameras[0].frames[1][0], small().cameras[0].frames[1][0]
    assert ada.bbox_xyxy_px == (4, 1, 7, 3)
    assert ada.full_bbox_xyxy_px == (4, 1, 7, 5)
    assert ada.visibility == 0.5
    assert (ada.mask == wanted.mask).all()
    assert ada.full_mask((10, 6))[1:3, 4:7].sum() == ada.full_mask((10, 6)).sum() == 4


def test_golden_same_truth_same_bytes(tmp_path):
    for name in ("one.npz", "two.npz"):
        save_truth(tmp_path / name, small())
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()


def posed(truth: Truth) -> Truth:
    """The same with tracks and poses, each row's its own."""
    count = 0

    def pose(person: TruthPerson) -> TruthPerson:
        nonlocal count
        count += 1
        rng = np.random.default_rng(count)
        theta, joints, points = (
            rng.normal(size=s).astype(np.float32) for s in (85, (24, 3), (17, 3))
        )
        return dataclasses.replace(
            person, track=count, pose=TruePose(theta, joints, joints + np.float32(2), points)
        )

    camera = truth.cameras[0]
    frames = tuple(tuple(pose(p) for p in frame) for frame in camera.frames)
    return Truth(truth.names, (dataclasses.replace(camera, frames=frames, t=np.full(3, 2.0)),))


def test_golden_poses_round_trip(tmp_path):
    wanted = posed(small())
    save_truth(tmp_path / "truth.npz", wanted)
    read = load_truth(tmp_path / "truth.npz")
    for frame, other in zip(wanted.cameras[0].frames, read.cameras[0].frames, strict=True):
        for one, two in zip(frame, other, strict=True):
            assert one.track == two.track and one.pose is not None and two.pose is not None
            for name in ("theta", "joints_world_m", "keypoints_px"):
                assert (getattr(one.pose, name) == getattr(two.pose, name)).all()
            # Not stored: worked out with the camera.
            assert np.allclose(two.pose.joints_camera_m, one.pose.joints_camera_m, atol=1e-6)


def test_golden_version_1_is_read(tmp_path):
    save_truth(tmp_path / "new.npz", posed(small()))
    with np.load(tmp_path / "new.npz") as file:
        old = {n: file[n] for n in file.files if n not in ("track", "theta", "joints_m")}
    old.pop("keypoints_px")
    np.savez(tmp_path / "old.npz", **(old | {"version": np.int64(1)}))
    people = [p for frame in load_truth(tmp_path / "old.npz").cameras[0].frames for p in frame]
    assert len(people) == 3 and all(p.track == -1 and p.pose is None for p in people)


def test_exception_some_poses_missing(tmp_path):
    truth = posed(small())
    camera = truth.cameras[0]
    bare = dataclasses.replace(camera.frames[2][0], pose=None)
    frames = (*camera.frames[:2], (bare,))
    broken = Truth(truth.names, (dataclasses.replace(camera, frames=frames),))
    with pytest.raises(ValueError, match="all 3 rows with a pose or none, got 2"):
        save_truth(tmp_path / "truth.npz", broken)


def test_exception_poses_of_another_shape(tmp_path):
    save_truth(tmp_path / "truth.npz", posed(small()))
    with np.load(tmp_path / "truth.npz") as file:
        data = dict(file)
    np.savez(tmp_path / "truth.npz", **(data | {"joints_m": np.zeros((3, 23, 3))}))
    with pytest.raises(TruthError, match=r"joints_m of shape \(3, 24, 3\), got \(3, 23, 3\)"):
        load_truth(tmp_path / "truth.npz")


@pytest.mark.parametrize(
    ("entry", "value", "says"),
    [
        ("version", np.int64(9), "expected version 1 or 2, got 9"),
        ("visibility", np.zeros(2, np.float32), "visibility of shape (3,), got (2,)"),
        ("person", np.array([0, 2, 1]), "person in 0..1"),
        ("frame", np.array([1, 3, 2]), "frame indices within each clip"),
        ("mask_bits", np.zeros(1, np.uint8), "mask_start and mask_bits"),
        ("bbox_xyxy_px", np.tile([0, 0, 11, 1], (3, 1)), "boxes with an area within the image"),
        ("camera", None, "an entry 'camera'"),
    ],
)
def test_exception_says_what_is_wrong(tmp_path, entry, value, says):
    path = tmp_path / "truth.npz"
    save_truth(path, small())
    with np.load(path) as file:
        data = dict(file)
    data.pop(entry)
    np.savez(path, **data, **({} if value is None else {entry: value}))
    with pytest.raises(TruthError) as error:
        load_truth(path)
    assert says in str(error.value)


@pytest.mark.skipif(not DEMO.exists(), reason="demo/truth.npz is not there")
def test_golden_demo_clip():
    truth = load_truth(DEMO)
    assert truth.names == ("Ada", "Bo", "Cleo", "Dan")
    assert [c.name for c in truth.cameras] == ["camera_a", "camera_b"]
    for camera in truth.cameras:
        assert not any(camera.frames[: int(camera.fps)])  # a second of empty room
        for person in range(4):
            seen = [p for frame in camera.frames for p in frame if p.person == person]
            assert sum(p.visibility > 0.9 for p in seen) >= 4 * camera.fps - 5
            for p in seen:
                assert p.mask.any(axis=1)[[0, -1]].all()
                assert p.mask.any(axis=0)[[0, -1]].all()
        together = [frame for frame in camera.frames if len(frame) > 1]
        hidden = [p for frame in together for p in frame if 0.1 < p.visibility < 0.8]
        assert hidden  # somebody walks behind somebody
