"""Scenes on disk: recordings with truth, pictures with annotations, and what a stopped run left."""

from __future__ import annotations

import json

import av
import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as arrays

pytest.importorskip("numba")

from small_scenes import two_cameras

from pipeline.errors import InputError
from stages.human.scenes.coco import join_coco, run_lengths, write_coco
from stages.human.scenes.video import write_scene
from stages.human.truth import load_truth


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    out = tmp_path_factory.mktemp("scene")
    told: list[tuple[int, int]] = []
    write_scene(two_cameras(), out, lambda *counts: told.append(counts))
    assert told[0] == (1, 40) and told[-1] == (40, 40) and len(told) == 40
    return out


def test_golden_video_and_truth_are_the_scenes(written):
    scene = two_cameras()
    assert sorted(p.name for p in written.iterdir()) == [
        "camera_0.mp4",
        "camera_1.mp4",
        "truth.npz",
    ]
    truth = load_truth(written / "truth.npz")
    assert truth.names == scene.names
    for number, camera in enumerate(truth.cameras):
        assert camera.size_wh == (192, 108) and camera.fps == 10 and len(camera.frames) == 20
        assert np.allclose(camera.k, scene.cameras[number].lens.k)
        with av.open(str(written / f"{camera.name}.mp4")) as video:
            pictures = [f.to_ndarray(format="bgr24") for f in video.decode(video=0)]
        assert len(pictures) == 20
        pixels, told = scene.frame(number, 9)
        assert np.abs(pictures[9].astype(int) - pixels).mean() < 6  # compressed
        for read, wanted in zip(camera.frames[9], told.people, strict=True):
            assert read.bbox_xyxy_px == wanted.bbox_xyxy_px and read.track == wanted.track
            assert (read.mask == wanted.mask).all()
            assert read.pose is not None and wanted.pose is not None
            assert (read.pose.theta == wanted.pose.theta).all()
            assert np.allclose(read.pose.joints_camera_m, wanted.pose.joints_camera_m, atol=1e-5)


def test_golden_same_bytes_again(written, tmp_path):
    write_scene(two_cameras(), tmp_path / "again")
    for path in written.iterdir():
        assert (tmp_path / "again" / path.name).read_bytes() == path.read_bytes(), path.name


def test_golden_a_stopped_run_goes_on(written, tmp_path):
    class StopError(Exception):
        pass

    def stop(done: int, _all: int) -> None:
        if done == 25:
            raise StopError

    with pytest.raises(StopError):
        write_scene(two_cameras(), tmp_path, stop)
    assert (tmp_path / "camera_0.mp4").exists() and not (tmp_path / "camera_1.mp4").exists()
    assert not (tmp_path / "truth.npz").exists()
    first = (tmp_path / "camera_0.mp4").stat().st_mtime_ns
    told: list[int] = []
    write_scene(two_cameras(), tmp_path, lambda done, _all: told.append(done))
    assert told[0] == 21 and (tmp_path / "camera_0.mp4").stat().st_mtime_ns == first
    for path in written.iterdir():
        assert (tmp_path / path.name).read_bytes() == path.read_bytes(), path.name
    write_scene(two_cameras(), tmp_path, lambda *_: pytest.fail("made again"))


def test_golden_coco(tmp_path):
    scene = two_cameras()
    parts = [write_coco(scene, tmp_path, f"scene-{k}", every_s=1.0) for k in (1, 2)]
    whole = json.loads(join_coco(tmp_path, parts).read_text())
    assert sorted(p.name for p in tmp_path.iterdir()) == ["annotations.json", "images"]
    assert [image["id"] for image in whole["images"]] == list(range(8))
    assert [a["id"] for a in whole["annotations"]] == list(range(len(whole["annotations"])))
    assert whole["annotations"] and whole["categories"][0]["name"] == "person"
    for image in whole["images"]:
        pixels = cv2.imread(str(tmp_path / "images" / image["file_name"]))
        assert pixels.shape == (image["height"], image["width"], 3)
    for a in whole["annotations"]:
        height, width = a["segmentation"]["size"]
        mask = unpacked(a["segmentation"]["counts"], height, width)
        x, y, w, h = a["bbox"]
        assert mask.sum() == a["area"] and mask[y : y + h, x : x + w].sum() == a["area"]
        assert len(a["keypoints"]) == 51 and len(a["theta"]) == 85
        assert a["num_keypoints"] == sum(v > 0 for v in a["keypoints"][2::3])
    camera = whole["images"][0]["camera"]
    assert np.allclose(camera["r"], scene.cameras[0].lens.r, atol=1e-6)


def test_golden_coco_is_not_made_twice(tmp_path):
    part = write_coco(two_cameras(), tmp_path, "scene-1", every_s=2.0)
    before = part.read_bytes()
    again = write_coco(
        two_cameras(), tmp_path, "scene-1", 2.0, lambda *_: pytest.fail("made again")
    )
    assert again == part and part.read_bytes() == before


def test_exception_damaged_part(tmp_path):
    (tmp_path / ".a.json").write_text("{")
    with pytest.raises(InputError, match=r"\.a\.json cannot be read"):
        join_coco(tmp_path, [tmp_path / ".a.json"])


def unpacked(counts: list[int], height: int, width: int) -> np.ndarray:
    values = np.arange(len(counts)) % 2 == 1
    return np.repeat(values, counts).reshape(width, height).T


@given(arrays.arrays(bool, arrays.array_shapes(min_dims=2, max_dims=2, max_side=9)))
def test_property_run_lengths_give_the_mask_back(mask):
    counts = run_lengths(mask)
    assert sum(counts) == mask.size and all(n > 0 for n in counts[1:])
    assert (unpacked(counts, *mask.shape) == mask).all()
