"""Where a synthetic set lies, whose it is, and what goes with it."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from pipeline.cli.synthesis.config import SynthConfig
from pipeline.cli.synthesis.manifest import fingerprint, manifest_of
from pipeline.cli.synthesis.people_set import PeopleSet
from pipeline.cli.synthesis.places import Claim, places_of, read_manifest
from pipeline.cli.synthesis.subjects import partition_text, subjects_table
from pipeline.errors import InputError, OutputExistsError, UsageError
from stages.embed.evaluation.subjects import read_groupings
from stages.human.walkers.people import person

MANIFEST = {"format": "x", "config": {"seed": 1, "conditions": {"nm": 2}}}


def claim(out: Path, manifest: dict[str, object] = MANIFEST, overwrite: bool = False) -> Claim:
    kind = "packed" if out.suffix else "silhouettes"
    return Claim(places_of(out, kind), manifest, overwrite=overwrite)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["S", "S.gaitpack"])
def test_smoke_claimed_finished_and_found_again(tmp_path: Path, name: str) -> None:
    with claim(tmp_path / name) as first:
        assert not first.is_finished
        first.finish()
    with claim(tmp_path / name) as again:
        assert again.is_finished
    manifest = places_of(tmp_path / name, "packed" if "." in name else "silhouettes").manifest
    assert read_manifest(manifest) == MANIFEST | {"finished": True}


def test_replay_what_was_being_written_is_of_no_use(tmp_path: Path) -> None:
    half = tmp_path / "S" / ".parts" / "halves" / "train0-00000"
    with claim(tmp_path / "S"):
        half.mkdir()
        (tmp_path / "S" / "train0-00001").mkdir()
    assert not half.exists(), "room is given back"
    half.mkdir()  # as a kill leaves it
    with claim(tmp_path / "S") as again:
        assert not again.is_finished and not half.exists()
    assert (tmp_path / "S" / "train0-00001").is_dir()


@pytest.mark.parametrize("name", ["S", "S.gaitpack"])
def test_property_where_nothing_was_made_nothing_is_left(tmp_path: Path, name: str) -> None:
    with pytest.raises(KeyboardInterrupt), claim(tmp_path / name):
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_exception_another_process_is_there(tmp_path: Path) -> None:
    with claim(tmp_path / "S"):
        with pytest.raises(InputError, match="another process is writing"):
            claim(tmp_path / "S").__enter__()
        with pytest.raises(InputError, match="another process is writing"):
            claim(tmp_path / "S", overwrite=True).__enter__()


def test_exception_other_arguments_are_named(tmp_path: Path) -> None:
    with claim(tmp_path / "S"):
        (tmp_path / "S" / "train0-00000").mkdir()
    other = {"format": "x", "config": {"seed": 2, "conditions": {"nm": 2, "cl": 1}}}
    with pytest.raises(OutputExistsError) as caught:
        claim(tmp_path / "S", other).__enter__()
    told = caught.value.message
    assert "config.seed: 1 there, 2 here" in told
    assert "config.conditions.cl: null there, 1 here" in told
    assert "conditions.nm" not in told and "format" not in told
    kinds = {"format": "x", "config": {"seed": 2, "kind": "coco"}}
    with pytest.raises(OutputExistsError) as caught:
        claim(tmp_path / "S", kinds).__enter__()
    assert caught.value.message.splitlines()[1:] == ['  config.kind: null there, "coco" here']


def test_exception_another_version_of_the_program(tmp_path: Path) -> None:
    with claim(tmp_path / "S", MANIFEST | {"made_by": {"code": "a"}}):
        (tmp_path / "S" / "train0-00000").mkdir()
    with pytest.raises(OutputExistsError, match="the same set, begun by another version") as caught:
        claim(tmp_path / "S", MANIFEST | {"made_by": {"code": "b"}}).__enter__()
    assert 'made_by.code: "a" there, "b" here' in caught.value.message
    assert "take that version" in caught.value.hint


def test_exception_broken_manifest(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("{", encoding="utf-8")
    with pytest.raises(InputError, match="cannot be read"):
        claim(tmp_path).__enter__()
    (tmp_path / "manifest.json").write_text('{"name": "an app"}', encoding="utf-8")
    with pytest.raises(InputError, match="no manifest of a synthetic set"):
        claim(tmp_path).__enter__()


def test_exception_names_that_do_not_suit(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "d.gaitpack").mkdir()
    for name, kind in (("x", "packed"), ("d.gaitpack", "packed"), ("file", "silhouettes")):
        with pytest.raises(UsageError):
            places_of(tmp_path / name, kind)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="names a file"):
        places_of(Path("/dev/null"), "silhouettes")


def test_smoke_table_and_partition_are_what_evaluation_reads(tmp_path: Path) -> None:
    config = SynthConfig(identities=30, split="test", seed=2)
    people = [person("test", number, 2) for number in config.numbers]
    path = tmp_path / "subjects.csv"
    path.write_text(subjects_table(config, people), encoding="utf-8")
    rows = list(csv.DictReader(path.read_text("utf-8").splitlines()))
    assert [row["subject"] for row in rows][:2] == ["test2-00000", "test2-00001"]
    groups = read_groupings([path], [row["subject"] for row in rows])
    assert {"group", "sex", "height_m", "bmi", "build"} <= {one.name for one in groups}
    partition = json.loads(partition_text(config))
    assert partition["TRAIN_SET"] == [] and len(partition["TEST_SET"]) == 30


def test_property_manifests_differ_by_what_is_asked() -> None:
    same = {fingerprint(manifest_of(SynthConfig(seed=1), None)) for _ in range(2)}
    other = fingerprint(manifest_of(SynthConfig(seed=2), None))
    clips = fingerprint(manifest_of(SynthConfig(seed=1), {"a.bvh": "00"}))
    assert len(same | {other, clips}) == 3
    data = manifest_of(SynthConfig(), None)["data"]
    assert {"gaits.npz", "bodies.npz", "open_body.npz"} <= set(data)


def test_property_room_grows_with_what_is_asked(tmp_path: Path) -> None:
    def needed(**given: object) -> int:
        config = SynthConfig.model_validate(given)
        name = "S.gaitpack" if config.kind == "packed" else "S"
        return PeopleSet(config, places_of(tmp_path / name, config.kind)).needed_bytes(5)

    packed = [needed(kind="packed", views=views) for views in (1, 2)]
    assert packed[1] == 2 * packed[0] > 0
    assert needed(views=1) > packed[0], "files have headers, and take whole blocks"
    assert needed(theta=False) < needed()
