"""The yolo variant: its mask handling always, the model itself where ultralytics is installed."""

import sys

import numpy as np
import pytest
from detect_puppet import background

from pipeline.errors import ResourceError, WeightsError
from pipeline.messages import Frame, Stamp, StreamStart
from stages.detect import YoloConfig, build
from stages.detect.yolo import load_model, observation_of_mask


def test_a_mask_becomes_an_observation_in_frame_pixels():
    mask = np.zeros((60, 80), np.float32)
    mask[10:50, 20:30] = 1
    one = observation_of_mask(mask, np.array([78.0, 38, 122, 202]), 0.8, (240, 320))
    assert one is not None
    np.testing.assert_allclose(one.box, [80, 40, 120, 200], atol=3)
    assert one.mask.mean() > 0.9 and one.score == 0.8 and len(one.landmarks) == 0


def test_exception_an_empty_mask_is_nobody():
    assert observation_of_mask(np.zeros((60, 80)), np.array([0.0, 0, 9, 9]), 0.8, (60, 80)) is None


def test_exception_without_ultralytics_the_extra_is_named(tmp_path, monkeypatch):
    weights = tmp_path / "model.pt"
    weights.write_bytes(b"not weights")
    monkeypatch.setitem(sys.modules, "ultralytics", None)
    with pytest.raises(ResourceError, match="yolo") as caught:
        load_model(YoloConfig(variant="yolo", weights=weights))
    assert "gaitstream[yolo]" in caught.value.hint


def test_smoke_an_untrained_model_runs(tmp_path):
    ultralytics = pytest.importorskip("ultralytics")
    weights = tmp_path / "untrained-seg.pt"
    model = ultralytics.YOLO("yolo11n-seg.yaml")
    model.model.names[0] = "person"  # an untrained model calls its classes by number
    model.save(str(weights))
    config = YoloConfig(
        variant="yolo", weights=weights, min_detection=0.0, image_size_px=320, threads=1
    )
    stage = build(config)
    stage.setup()
    picture = background(320, 240)
    stage.start(StreamStart("a", "a", (320, 240), 10.0, 0, False, 0))
    for index in range(3):
        (people,) = stage.process(Frame(Stamp("a", index, index * 10**8, 0, 0), pixels=picture))
        assert people.stamp.frame_id == index
    assert stage.report()["searches"] == 3
    stage.close()


def test_exception_damaged_weights_are_named(tmp_path):
    pytest.importorskip("ultralytics")
    weights = tmp_path / "damaged-seg.pt"
    weights.write_bytes(b"not weights")
    with pytest.raises(WeightsError, match="damaged-seg"):
        load_model(YoloConfig(variant="yolo", weights=weights))
