"""Promoting a sighting to a person."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from identify_samples import JPEG, add_sighting, embedding, message, started_stage, template

from pipeline.errors import GalleryConflictError, GalleryError, UsageError
from stages.identify.enrol import enrol_from_sightings
from stages.identify.gallery import Gallery
from stages.identify.sightings import sightings


@pytest.fixture
def gallery(tmp_path: Path) -> Iterator[Gallery]:
    with Gallery.open(tmp_path / "g.db", "create") as gallery:
        yield gallery


def test_smoke_only_track_is_enrolled_with_its_picture(gallery: Gallery, tmp_path: Path) -> None:
    (tmp_path / "thumbnails").mkdir()
    (tmp_path / "thumbnails" / "4.jpg").write_bytes(JPEG)
    vectors = add_sighting(gallery, 4, run_dir=str(tmp_path))
    add_sighting(gallery, 5, windows=1)
    done = enrol_from_sightings(gallery, "run-1", None, "Anna", "agreed")
    assert done.person.name == "Anna" and done.person.consent == "agreed" and not done.added
    assert done.person.has_thumbnail and done.sighting.track_id == 4
    (stored,) = gallery.templates("Anna")
    mean, length = np.mean(vectors, axis=0), np.mean([np.linalg.norm(v) for v in vectors])
    np.testing.assert_allclose(stored.vector, mean * length / np.linalg.norm(mean), rtol=1e-5)
    assert stored.frames == 40 and stored.source_label == "clip.mp4, track 4"
    assert sightings(gallery)[0].person_id == done.person.id


def test_exception_several_tracks_are_listed(gallery: Gallery) -> None:
    add_sighting(gallery, 4, windows=5)
    add_sighting(gallery, 9, windows=30)
    with pytest.raises(UsageError) as caught:
        enrol_from_sightings(gallery, "run-1", None, "Anna")
    lines = str(caught.value).splitlines()
    assert "2 people could be meant" in lines[0]
    assert lines[1].startswith("  track 9: 30.0 s, 30 windows")
    assert lines[2].startswith("  track 4: 5.0 s")
    assert "--track" in lines[-1]
    assert gallery.people() == []
    assert enrol_from_sightings(gallery, "run-1", 9, "Anna").sighting.track_id == 9


@pytest.mark.parametrize(
    ("run", "track", "pattern"),
    [
        ("run-2", None, "has no tracks"),
        ("run-1", 77, "has no track 77"),
        ("run-1", 5, "no track has the 2 windows"),
    ],
)
def test_exception_no_track(gallery: Gallery, run: str, track: int, pattern: str) -> None:
    add_sighting(gallery, 4)
    add_sighting(gallery, 5, windows=1)
    with pytest.raises(UsageError, match=pattern):
        enrol_from_sightings(gallery, run, track, "Anna")


def test_exception_same_track_number_in_two_sources(gallery: Gallery) -> None:
    add_sighting(gallery, 4)
    add_sighting(gallery, 4, source="cam2")
    with pytest.raises(UsageError, match=r"several sources.*\n.*track 4 of cam"):
        enrol_from_sightings(gallery, "run-1", 4, "Anna")
    done = enrol_from_sightings(gallery, "run-1", 4, "Anna", source_id="cam2")
    assert done.sighting.source_id == "cam2"


def test_smoke_add_to_somebody(gallery: Gallery) -> None:
    gallery.add_person("Anna", consent="2024", templates=[template(1)])
    add_sighting(gallery, 4)
    with pytest.raises(GalleryConflictError, match="already taken"):
        enrol_from_sightings(gallery, "run-1", 4, "anna")
    with pytest.raises(GalleryConflictError, match="nobody"):
        enrol_from_sightings(gallery, "run-1", 4, "Ann", add=True)
    done = enrol_from_sightings(gallery, "run-1", 4, "anna", "2025", add=True)
    assert done.added and done.person.templates == 2 and done.person.consent == "2024; 2025"
    with pytest.raises(GalleryConflictError, match="already enrolled as 'Anna'"):
        enrol_from_sightings(gallery, "run-1", 4, "anna", add=True)
    assert gallery.person("Anna").templates == 2


def test_exception_expired(gallery: Gallery) -> None:
    add_sighting(gallery, 4, minutes=1e-9)
    with pytest.raises(UsageError, match="has no tracks"):
        enrol_from_sightings(gallery, "run-1", 4, "Anna")


@pytest.mark.parametrize("content", [b"not a picture", JPEG + bytes(2 << 20)])
def test_smoke_unfit_picture_is_left_out(gallery: Gallery, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "thumbnails").mkdir()
    (tmp_path / "thumbnails" / "4.jpg").write_bytes(content)
    add_sighting(gallery, 4, run_dir=str(tmp_path))
    assert not enrol_from_sightings(gallery, "run-1", 4, "Anna").person.has_thumbnail


def test_exception_unfit_name_changes_nothing(gallery: Gallery) -> None:
    add_sighting(gallery, 4)
    with pytest.raises(GalleryError):
        enrol_from_sightings(gallery, "run-1", 4, "unknown")
    assert sightings(gallery)[0].person_id == ""


def test_smoke_enrolled_in_one_run_recognised_in_the_next(tmp_path: Path) -> None:
    path = tmp_path / "new.db"
    base = np.random.default_rng(5).normal(size=(8, 2)).astype(np.float32)
    noise = np.random.default_rng(6).normal(scale=0.1, size=(12, 8, 2)).astype(np.float32)
    first = started_stage(gallery=path, create_gallery=True, sightings=True, run_id="r1")
    for window in range(6):
        first.process(message(window, [embedding(3, base + noise[window], window)]))
    first.end("cam")
    first.close()
    with Gallery.open(path) as gallery:
        enrol_from_sightings(gallery, "r1", None, "Anna", "agreed")
    second = started_stage(gallery=path)
    for window in range(6, 12):
        (answer,) = second.process(message(window, [embedding(8, base + noise[window], window)]))
    assert answer.identities[0].name == "Anna"
    second.close()
