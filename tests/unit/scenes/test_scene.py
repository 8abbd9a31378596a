"""Scenes: the same frames again in any order, and a truth that fits the picture."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from pydantic import ValidationError

pytest.importorskip("numba")

from small_scenes import small_settings, two_cameras

from pipeline.errors import ConfigError, InputError
from stages.human.joints import SMPL_COCO_PAIRS
from stages.human.rotation import axis_angle_to_matrix
from stages.human.scenes.drawing import PassingBy, draw_scene, passing_by
from stages.human.scenes.lighting import SceneLight
from stages.human.scenes.places import choose_place, draw_place
from stages.human.scenes.scene import Scene, exposure_for
from stages.human.scenes.settings import MOST_CAMERAS, PLACES
from stages.human.skeleton import forward_kinematics
from stages.human.walkers.bodies import load_mesh, load_walker_skeleton, pose_joints, skin


def seen(scene: Scene, camera: int = 0):
    """Frames with somebody well in view, with their truth."""
    for index in range(0, scene.frame_count, 3):
        pixels, truth = scene.frame(camera, index)
        for person in truth.people:
            x1, y1, x2, y2 = person.bbox_xyxy_px
            width, height = scene.cameras[camera].lens.size_wh
            inside = x1 > 0 and y1 > 0 and x2 < width and y2 < height
            if inside and person.visibility > 0.95:
                yield index, pixels, person


def test_golden_frames_come_in_any_order():
    scene, again = two_cameras(), draw_scene(small_settings(cameras=2))
    wanted = {(c, i): scene.frame(c, i) for c in (0, 1) for i in (0, 7, 19)}
    for (camera, index), (pixels, truth) in reversed(wanted.items()):
        other, told = again.frame(camera, index)
        assert (pixels == other).all()
        assert [p.bbox_xyxy_px for p in told.people] == [p.bbox_xyxy_px for p in truth.people]
        for one, two in zip(truth.people, told.people, strict=True):
            assert one.pose is not None and two.pose is not None
            assert (one.mask == two.mask).all() and (one.pose.theta == two.pose.theta).all()


def test_golden_other_seed_other_scene():
    one, _ = two_cameras().frame(0, 5)
    other, _ = draw_scene(small_settings(cameras=2, seed=4)).frame(0, 5)
    assert one.shape == other.shape == (108, 192, 3) and one.dtype == np.uint8
    assert (one != other).mean() > 0.5


def test_golden_somebody_is_in_view_from_the_start():
    for camera in (0, 1):
        counts = [len(two_cameras().frame(camera, i)[1].people) for i in range(0, 20, 4)]
        assert max(counts) > 0


def test_golden_masks_are_where_the_picture_changes():
    scene = two_cameras()
    empty = Scene(
        scene.cameras, scene.stage, scene.walkers, (), scene.fps, scene.frame_count, scene.seed
    )
    for index in (4, 12):
        pixels, truth = scene.frame(0, index)
        bare, nobody = empty.frame(0, index)
        assert nobody.people == ()
        changed = np.abs(pixels.astype(int) - bare).max(axis=2) > 12
        inside = np.zeros(changed.shape, bool)
        for person in truth.people:
            inside |= person.full_mask(scene.cameras[0].lens.size_wh)
        assert changed[inside].mean() > 0.75  # the rest has the wall's colour by chance
        far = cv2.dilate(inside.astype(np.uint8), np.ones((31, 31), np.uint8)) == 0
        below = np.arange(len(far))[:, None] > 54  # shadows lie on the floor alone
        assert not changed[far & ~below].any()


def test_golden_theta_is_the_person_in_the_cameras_axes():
    scene = two_cameras()
    skeleton = load_walker_skeleton()
    checked = 0
    for camera in (0, 1):
        for _, _, person in seen(scene, camera):
            pose = person.pose
            assert pose is not None
            theta = pose.theta.astype(np.float64)
            rest = skeleton.rest_joints(theta[75:])
            own, _ = forward_kinematics(axis_angle_to_matrix(theta[3:75].reshape(24, 3)), rest)
            moved = pose.joints_camera_m - own
            assert np.ptp(moved, axis=0).max() < 2e-3  # the same but for a shift
            corners = np.array(person.bbox_xyxy_px, float)
            side = (corners[2:] - corners[:2]).max()
            square = theta[0] * (own[:, :2] + theta[1:3])
            back = square * side / 2 + (corners[:2] + corners[2:]) / 2
            smpl, coco = np.array(SMPL_COCO_PAIRS).T
            gap = np.linalg.norm(back[smpl] - pose.keypoints_px[coco, :2], axis=1)
            assert gap.mean() < 0.04 * side  # weak perspective is not quite perspective
            checked += 1
    assert checked > 3


def test_golden_keypoints_lie_on_the_body():
    scene = two_cameras()
    for _, pixels, person in seen(scene):
        near = cv2.dilate(
            person.full_mask(scene.cameras[0].lens.size_wh).astype(np.uint8), np.ones((5, 5))
        )
        assert person.pose is not None
        for x, y, in_front in person.pose.keypoints_px:
            assert in_front == 1 and near[int(y), int(x)], (x, y, pixels.shape)


def test_golden_both_cameras_see_the_same_world():
    scene = two_cameras()
    one, other = (scene.frame(camera, 10)[1] for camera in (0, 1))
    shared = {p.track for p in one.people} & {p.track for p in other.people}
    assert shared
    for track in shared:
        a, b = (next(p for p in t.people if p.track == track) for t in (one, other))
        assert a.name == b.name and a.pose is not None and b.pose is not None
        assert (a.pose.joints_world_m == b.pose.joints_world_m).all()
    first, second = (camera.lens.position[:2] for camera in scene.cameras)
    cosine = first @ second / np.linalg.norm(first) / np.linalg.norm(second)
    assert abs(cosine) < 1e-6  # 90 degrees apart


@pytest.mark.parametrize(("azimuth", "shows"), [(0, "front"), (90, "left"), (180, "back")])
def test_golden_passing_by_shows_the_side_asked_for(azimuth, shows):
    scene = passing_by(PassingBy(azimuth_deg=azimuth, height_px=60, size_wh=(120, 100), fps=10))
    index = scene.frame_count // 2
    (person,) = scene.frame(0, index)[1].people
    assert person.pose is not None
    left, right = person.pose.joints_camera_m[[16, 17]]
    if shows == "left":
        assert left[2] < right[2] - 0.15
    else:
        assert (left[0] > right[0]) == (shows == "front")
    tall = person.bbox_xyxy_px[3] - person.bbox_xyxy_px[1]
    assert tall == pytest.approx(60 * scene.walkers[0].person.height_m / 1.7, rel=0.15)


def test_golden_people_behind_something_are_partly_seen():
    scene = two_cameras()
    # A wall of the backdrop moved in front of everybody hides them all.
    empty = scene._empty_place(0)
    kept = empty.backdrop.depth.copy()
    try:
        empty.backdrop.depth[...] = 1.0
        assert scene.frame(0, 10)[1].people == ()
    finally:
        empty.backdrop.depth[...] = kept
    assert scene.frame(0, 10)[1].people


def test_golden_motion_blur_smears_the_people_alone():
    sharp = draw_scene(small_settings(noise=0.0))
    smeared = draw_scene(small_settings(noise=0.0, blur=1.0))
    one, truth = sharp.frame(0, 10)
    other, told = smeared.frame(0, 10)
    assert [p.bbox_xyxy_px for p in truth.people] == [p.bbox_xyxy_px for p in told.people]
    changed = np.abs(one.astype(int) - other).max(axis=2) > 6
    assert 0.0005 < changed.mean() < 0.2


@pytest.mark.parametrize("place", PLACES)
def test_smoke_places(place):
    scene = draw_scene(small_settings(place=place, people=1, width=128, height=72))
    pixels, _ = scene.frame(0, 0)
    assert 40 < pixels.mean() < 200 and pixels.std() > 8
    assert 0.1 < (scene._empty_place(0).backdrop.bare_floor > 0.5).mean() < 0.95
    assert draw_place(place, np.random.default_rng(1)).walls
    assert MOST_CAMERAS[place] >= 1


def test_golden_late_frames_work_out_who_is_there_alone():
    scene = draw_scene(small_settings(seconds=60.0))
    assert len(scene.passages) > 4
    scene.frame(0, scene.frame_count - 1)
    assert len(scene._walking) <= 4
    for passage in range(3):  # nobody is cut off on the way
        wanted = scene.passages[passage]
        assert scene.passage_s(passage) < scene._latest_end_s(wanted)


def test_exception_no_such_frame():
    with pytest.raises(IndexError, match=r"camera 0..1 and frame 0..19, got camera 0, frame 20"):
        two_cameras().frame(0, 20)
    with pytest.raises(IndexError, match="camera 2"):
        two_cameras().frame(2, 0)


def test_exception_no_room_for_the_cameras():
    with pytest.raises(ValidationError, match=r"'corridor' has no room for 2 cameras; .* hall, "):
        small_settings(place="corridor", cameras=2)
    with pytest.raises(ConfigError, match="'corridor' has no room for 2 cameras"):
        choose_place("corridor", 2, np.random.default_rng(0))


def test_golden_pictures_stand_in_for_the_place(tmp_path):
    picture = np.zeros((60, 100, 3), np.uint8)
    picture[:, :50] = (10, 200, 90)
    cv2.imwrite(str(tmp_path / "b.png"), picture)
    scene = draw_scene(small_settings(backgrounds=tmp_path, noise=0.0))
    pixels, _ = scene.frame(0, 0)
    assert np.abs(pixels[:20, :60].astype(int) - (10, 200, 90)).max() <= 3
    people = [scene.frame(0, i)[1].people for i in range(0, 20, 4)]
    assert any(people)


def test_exception_backgrounds(tmp_path):
    with pytest.raises(InputError, match="cannot be read: No such file"):
        draw_scene(small_settings(backgrounds=tmp_path / "none"))
    with pytest.raises(InputError, match="no images in the folder"):
        draw_scene(small_settings(backgrounds=tmp_path))
    (tmp_path / "a.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match="is no readable image"):
        draw_scene(small_settings(backgrounds=tmp_path))


def test_golden_exposure_brightens_the_dark():
    dark, bright = (np.full((4, 4, 3), v, np.float32) for v in (0.05, 0.6))
    light = two_cameras().stage.light
    assert exposure_for(dark, light) > exposure_for(bright, light)
    one = np.ones(3, np.float32)
    dazzling = SceneLight(np.array([0.0, 0.0, 1.0]), 2 * one, one, one, 0.1)
    assert exposure_for(dark, dazzling) * 3 * 0.65 == pytest.approx(1.0)  # a pale face in the sun


def test_parity_theta_gives_the_naked_body_back():
    scene = two_cameras()
    _, _, person = next(seen(scene))
    assert person.pose is not None
    theta = person.pose.theta.astype(np.float64)
    mesh, rest = load_mesh("full"), load_walker_skeleton().rest_joints(theta[75:])
    posed = pose_joints(theta[None, 3:75], rest)
    body = skin(mesh, mesh.shaped(theta[75:]), rest, posed)[0]
    body = body + (person.pose.joints_camera_m[0] - posed.joints[0, 0]).astype(np.float32)
    lens = scene.cameras[0].lens
    points = body @ lens.k.T
    points = points[:, :2] / points[:, 2:]
    mask = cv2.dilate(person.full_mask(lens.size_wh).astype(np.uint8), np.ones((3, 3)))
    rows, columns = (points[:, k].astype(int).clip(0, lens.size_wh[k] - 1) for k in (1, 0))
    assert mask[rows, columns].mean() > 0.98
