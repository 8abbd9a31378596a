"""Parts of a synthetic set: made, written, collected, looked at."""

from __future__ import annotations

import errno
import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from pipeline.cli.synthesis.collecting import FolderCollection, PackedCollection
from pipeline.cli.synthesis.config import SynthConfig
from pipeline.cli.synthesis.contact_sheet import CELL_WH, LABEL_WIDTH_PX, contact_sheet
from pipeline.cli.synthesis.making import Maker
from pipeline.cli.synthesis.places import Places, places_of
from pipeline.cli.synthesis.writing import (
    FolderWriter,
    PartPacker,
    part_file,
    square,
    write_sequence,
)
from stages.body.landmarks import LandmarksBody
from stages.embed.data.folders import FolderStore
from stages.embed.data.packed import PackedStore
from stages.human import safe_pickle
from stages.human.silhouette import cut_sides
from stages.human.skeleton import load_skeleton
from stages.human.walkers.sequences import make_sequence

ASKED = {"identities": 3, "views": 2, "conditions": "nm", "frames": 4, "seed": 9}


def config(**more: object) -> SynthConfig:
    return SynthConfig.model_validate(ASKED | more)


def ignored(_frames: int) -> None:
    pass


def readied(out: Path, asked: SynthConfig) -> Places:
    places = places_of(out, asked.kind)
    places.halves.mkdir(parents=True)
    return places


@pytest.fixture(scope="module")
def maker() -> Maker:
    return Maker(config())


def test_shape_of_what_is_made(maker: Maker) -> None:
    made = list(maker.sequences(1))
    assert [(one.kind, one.view) for one, _ in made] == [("nm-01", "000"), ("nm-01", "180")]
    for _, sequence in made:
        assert sequence.silhouettes.shape == (4, 64, 44) and sequence.silhouettes.any()
        assert sequence.theta.shape == (4, 85) and np.isfinite(sequence.theta).all()
        assert sequence.keypoints_px.shape == (4, 17, 3)
    large = next(Maker(config(size=128, theta=False)).sequences(1))[1]
    assert large.silhouettes.shape == (4, 128, 88) and large.theta.shape == (0, 85)


def test_parity_rows_are_those_of_the_body_stage_frame_by_frame(maker: Maker) -> None:
    planned, made = next(maker.sequences(0))
    body = LandmarksBody(load_skeleton())

    def rows(times_ns: np.ndarray, *frames: np.ndarray) -> np.ndarray:
        each = zip(times_ns, *frames, strict=True)
        return np.stack([body.estimate("walk", int(time), *frame).theta for time, *frame in each])

    from pipeline.cli.synthesis.plan import sequence_rng

    slow = make_sequence(maker.person(0), planned.recipe, sequence_rng(config(), planned), rows)
    np.testing.assert_array_equal(slow.silhouettes, made.silhouettes)
    np.testing.assert_allclose(slow.theta, made.theta, atol=1e-5)


def test_property_outfits_by_walk_or_by_sequence() -> None:
    apart = {"azimuth_jitter_deg": 0, "noise": 0, "theta": False, "views": 1, "conditions": "cl:2"}
    one = {s.kind: c for s, c in Maker(config(**apart, outfits="walk")).sequences(0)}
    other = {s.kind: c for s, c in Maker(config(**apart)).sequences(0)}
    assert not np.array_equal(one["cl-01"].silhouettes, one["cl-02"].silhouettes)
    assert not np.array_equal(one["cl-01"].silhouettes, other["cl-01"].silhouettes)


@pytest.mark.parametrize("height", [64, 128])
def test_property_square_is_undone_by_cutting(height: int) -> None:
    cut = np.random.default_rng(0).integers(0, 256, (3, height, height * 11 // 16), np.uint8)
    assert square(cut).shape == (3, height, height)
    np.testing.assert_array_equal(cut_sides(square(cut)), cut)


def test_parity_both_forms_read_the_same(maker: Maker, tmp_path: Path) -> None:
    for form in ("npy", "opengait"):
        for number in (0, 1):
            for planned, sequence in maker.sequences(number):
                folder = tmp_path / form / str(number) / planned.kind / planned.view
                folder.mkdir(parents=True)
                write_sequence(folder, sequence, form)
    npy, opengait = (FolderStore(tmp_path / form) for form in ("npy", "opengait"))
    assert npy.has == {"silhouettes", "theta", "keypoints"}
    assert opengait.has == {"silhouettes", "theta"}
    for place in range(len(npy.entries)):
        one, other = npy.read(place), opengait.read(place)
        np.testing.assert_array_equal(one.silhouettes, other.silhouettes)
        np.testing.assert_array_equal(one.theta, other.theta)
    names = sorted(path.name for path in (tmp_path / "opengait" / "0" / "nm-01" / "180").iterdir())
    assert names == ["180.pkl", "smpls-180.pkl"], "OpenGait reads them in the order of names"
    path = tmp_path / "opengait" / "0" / "nm-01" / "180" / "180.pkl"
    assert safe_pickle.load(path).dtype == pickle.loads(path.read_bytes()).dtype == np.uint8


@pytest.mark.parametrize("form", ["npy", "opengait"])
def test_exception_a_full_disk_names_the_file(maker: Maker, tmp_path: Path, form: str) -> None:
    _, sequence = next(maker.sequences(0))

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(OSError) as caught:
            write_sequence(tmp_path, sequence, form)
    first = "sils.npy" if form == "npy" else f"{tmp_path.name}.pkl"
    assert caught.value.filename == str(tmp_path / first)


@pytest.mark.parametrize("form", ["npy", "opengait"])
def test_replay_folders_that_are_whole_stay(tmp_path: Path, form: str) -> None:
    asked = config(form=form, theta=False)
    places = readied(tmp_path / "S", asked)
    write, collection = FolderWriter(asked, places, None), FolderCollection(asked, places)
    assert collection.missing() == [0, 1, 2]
    told: list[int] = []
    for number in (0, 1):
        write(number, told.append)
    assert told == [4, 8, 4, 8]
    assert collection.missing() == [2]
    cut = next((places.out / "train9-00000" / "nm-01" / "180").iterdir())
    cut.write_bytes(cut.read_bytes()[:-1])
    assert collection.missing() == [0, 2]
    assert not (places.out / "train9-00000").exists()
    assert not any(places.halves.iterdir())


def test_replay_parts_are_appended_in_order_whenever_they_come(tmp_path: Path) -> None:
    asked = config(kind="packed")
    whole, places = tmp_path / "whole.gaitpack", readied(tmp_path / "set.gaitpack", asked)
    write = PartPacker(asked, places, None)
    write(2, ignored)
    write(0, ignored)
    with PackedCollection(asked, places, "job") as collection:
        assert collection.missing() == [1], "those that lie ready are not made again"
        assert not part_file(places, asked, 0).exists() and part_file(places, asked, 2).exists()
    part_file(places, asked, 2).write_bytes(part_file(places, asked, 2).read_bytes()[:-40])
    with PackedCollection(asked, places, "job") as collection:
        assert collection.missing() == [1, 2], "a damaged one is"
        for number in (1, 2):
            write(number, ignored)
            collection.collect(number)
        collection.finish()
    assert PackedStore(places.out).verify() == []
    with PackedCollection(asked, places, "job") as collection:
        assert collection.missing() == [], "it was finished, its manifest not yet"
        collection.finish()
    straight = readied(whole, asked)
    with PackedCollection(asked, straight, "job") as collection:
        write = PartPacker(asked, straight, None)
        for number in collection.missing():
            write(number, ignored)
            collection.collect(number)
        collection.finish()
    assert whole.read_bytes() == places.out.read_bytes()


def test_shape_of_the_contact_sheet() -> None:
    seen = []

    def read(subject: str, kind: str, view: str) -> tuple[np.ndarray, np.ndarray]:
        seen.append((subject, kind, view))
        silhouettes = np.full((3, 64, 44), 255, np.uint8)
        return silhouettes, np.random.default_rng(0).uniform(0, 9, (3, 17, 3)).astype(np.float32)

    people = [(f"p{number}", "somebody") for number in range(30)]
    views = [f"{view:03d}" for view in range(0, 360, 10)]
    sheet = contact_sheet(people, ["nm-01", "cl-01"], views, read)
    assert sheet.dtype == np.uint8 and sheet.shape[2] == 3
    assert sheet.shape[1] == LABEL_WIDTH_PX + 12 * CELL_WH[0]
    assert {subject for subject, _, _ in seen} == {f"p{number}" for number in range(5)}
    assert len({view for _, _, view in seen}) == 12
    alone = contact_sheet(people[:1], ["nm-01"], ["000"], read)
    assert alone.shape[0] < sheet.shape[0] and (alone < 100).any()
