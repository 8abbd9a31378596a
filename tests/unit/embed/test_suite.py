"""Suites: who is enrolled and looked for, several files as one, and groups of people."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from eval_samples import ArrayStore, entries_of
from suite_samples import KINDS, VIEWS, sample

from pipeline.cli.synthesis.manifest import FORMAT
from pipeline.errors import InputError
from stages.embed.data.interface import Entry
from stages.embed.data.packing import pack
from stages.embed.evaluation.joined_store import JoinedStore, open_parts
from stages.embed.evaluation.subjects import read_groupings
from stages.embed.evaluation.suite import _made_how, condition_of, lay_out, open_suite


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_golden_the_first_normal_walk_is_enrolled() -> None:
    entries = entries_of(3, ("bg-01", "cl-01", "fr07-01", "nm-02", "nm-05"), ("000", "090"))
    layout, notes = lay_out(entries)
    assert layout.people == ("001", "002", "003") and layout.views == ("000", "090") and not notes
    assert {entries[i].kind for i in layout.gallery} == {"nm-02"}
    assert layout.conditions == ("nm", "bg", "cl", "fr07")
    assert len(layout.probes) == 24 and layout.of_condition("nm").sum() == 6
    for i, index in enumerate(layout.probes):
        entry = entries[index]
        assert layout.people[layout.probe_person[i]] == entry.subject
        assert layout.views[layout.probe_view[i]] == entry.view
        assert layout.conditions[layout.probe_condition[i]] == condition_of(entry.kind)
    order = list(zip(layout.gallery_view, layout.gallery_person, strict=True))
    assert order == sorted(order)


def test_golden_people_without_a_normal_walk_are_left_out() -> None:
    entries = [*entries_of(2, KINDS, VIEWS), Entry("009", "cl-01", "000", 9)]
    layout, notes = lay_out(entries)
    assert layout.people == ("001", "002") and "1 people have no normal walk" in notes[0]
    assert all(entries[i].subject != "009" for i in layout.probes)


def test_golden_views_near_an_axis() -> None:
    views = ("000", "030", "045", "090", "180", "210", "300", "330", "x")
    layout = sample(2, views=views)[1]
    named = lambda mask: [layout.views[i] for i in np.flatnonzero(mask)]  # noqa: E731
    assert named(layout.near(0)) == ["000", "030", "330"]
    assert named(layout.near(0, 180)) == ["000", "030", "180", "210", "330"]
    assert named(layout.near(90, 270)) == ["090", "300"]
    angle = layout.view_angle()
    assert angle[layout.views.index("030"), layout.views.index("330")] == 60
    assert np.isnan(angle[layout.views.index("x")]).all()


@pytest.mark.parametrize(
    ("entries", "says"),
    [
        (entries_of(3, ("a", "b"), VIEWS), "0 people with a normal walk"),
        (entries_of(1, KINDS, VIEWS), "1 people with a normal walk"),
        (entries_of(3, KINDS, ("000",)), "1 views"),
        (entries_of(3, ("nm-01",), VIEWS), "0 sequences to look for"),
        ([], "0 views"),
    ],
)
def test_exception_what_is_no_suite(entries: list[Entry], says: str) -> None:
    with pytest.raises(InputError, match=says):
        lay_out(entries)


def test_parity_parts_are_read_as_one(tmp_path: Path) -> None:
    entries = entries_of(2, ("nm-01", "nm-02"), ("000", "090"), frames=3)
    whole = ArrayStore(entries)
    parts = [ArrayStore(entries[:3]), ArrayStore(entries[3:])]
    joined = JoinedStore(parts[::-1])
    assert list(joined.entries) == entries and joined.height == 64
    assert joined.has == {"silhouettes"}
    assert joined.read(0).silhouettes.shape == whole.read(0).silhouettes.shape
    np.testing.assert_array_equal(
        joined.read(5, np.array([1])).silhouettes, parts[1].read(2, np.array([1])).silhouettes
    )
    with pytest.raises(InputError, match="in two parts of the set, such as 001/nm-01/000"):
        JoinedStore([whole, ArrayStore(entries[:1])])
    with pytest.raises(InputError, match=r"\[64, 128\] pixels high"):
        JoinedStore([whole, ArrayStore([Entry("9", "nm-01", "000", 1)], height=128)])


def test_smoke_a_folder_of_packed_files(tmp_path: Path) -> None:
    for name, kinds in (("main", KINDS), ("rates", ("fr07-01",))):
        store = ArrayStore(entries_of(3, kinds, ("000", "090"), frames=4))
        pack(store, range(len(store.entries)), tmp_path / f"{name}.gaitpack")
    write(tmp_path / "main.subjects.csv", "subject,sex\n001,f\n002,m\n003,f\n")
    write(tmp_path / "notes.txt", "no part of it")
    made = {"config": {"kind": "packed", "noise": [1.0, 1.0], "heights_px": [60.0, 200.0]}}
    made["config"] |= {"conditions": {"nm": 2, "cl": 1}, "mocap": None}
    write(tmp_path / "rates.manifest.json", json.dumps(made))  # another program's
    write(tmp_path / "main.manifest.json", json.dumps(made | {"format": FORMAT}))
    suite = open_suite(tmp_path)
    assert suite.notes == ()
    assert suite.layout.conditions == ("nm", "cl", "fr07") and len(suite.store.entries) == 24
    assert [grouping.name for grouping in suite.groupings] == ["sex"]
    alone = open_suite(tmp_path / "main.gaitpack")
    assert alone.layout.conditions == ("nm", "cl") and alone.name == "main"
    assert alone.groupings[0].groups == ("f", "m")
    assert _made_how(tmp_path / "rates.gaitpack") == _made_how(tmp_path / "none.gaitpack") == ()
    assert alone.notes == (
        "the suite was made by `run_pipeline.py synth` with kind packed, noise 1, "
        "heights_px 60-200, conditions nm:2,cl:1",
    )
    with pytest.raises(InputError, match="no such folder or file"):
        open_parts(tmp_path / "nowhere")
    (tmp_path / "cut.gaitpack").touch()
    with pytest.raises(InputError, match=r"cut\.gaitpack is no packed data"):
        open_parts(tmp_path)


def test_exception_broken_sequences_are_noted(tmp_path: Path) -> None:
    walker = np.zeros((4, 64, 64), np.uint8)
    walker[:, 4:60, 24:40] = 255
    for name in ("1/nm-01/000", "1/nm-02/090", "2/nm-01/000", "2/nm-02/090", "2/bg-01/090"):
        (tmp_path / name).mkdir(parents=True)
        np.save(tmp_path / name / "sils.npy", walker)
    (tmp_path / "2/bg-01/090/sils.npy").write_bytes(b"cut off")
    suite = open_suite(tmp_path)
    assert len(suite.store.entries) == 4
    assert len(suite.notes) == 1 and "such as 2/bg-01/090: sils.npy" in suite.notes[0]


def test_golden_groups_of_people(tmp_path: Path) -> None:
    rows = ["001,f,10,1.5,a", "002,m,15,1.6,b", "003,f,30,1.7,c", "004,m,70,,d", "009,x,1,9,e"]
    table = write(
        tmp_path / "subjects.csv", "\ufeffsubject,sex,age,height_m,id\n" + "\n".join(rows)
    )
    people = ("001", "002", "003", "004")
    sex, age, height, ids = read_groupings([table], people)
    assert sex.groups == ("f", "m") and sex.member.tolist() == [0, 1, 0, 1]
    assert age.groups == ("under 13", "13 to 18", "18 to 40", "60 and over")
    assert age.member.tolist() == [0, 1, 2, 3]
    assert height.name == "height_m" and height.member.tolist() == [0, 1, 2, -1]
    assert ids.groups == ("a", "b", "c", "d")
    same = write(tmp_path / "more.csv", "subject,build,split\n001,slim,test\n002,heavy,test\n")
    (build,) = read_groupings([same], people)
    assert build.groups == ("heavy", "slim") and build.member.tolist() == [1, 0, -1, -1]
    assert len(read_groupings([table, same], people)) == 5
    assert read_groupings([], people) == ()


@pytest.mark.parametrize(
    ("text", "says"),
    [("name,sex\n001,f\n", "no column 'subject'; it has name, sex"), ("", "it has nothing"),
     ("subject,sex\n777,f\n", "nothing of the 2 people")],
)  # fmt: skip
def test_exception_tables_that_say_nothing(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(InputError, match=says):
        read_groupings([write(tmp_path / "subjects.csv", text)], ("001", "002"))
    (tmp_path / "bad.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="cannot be read"):
        read_groupings([tmp_path / "bad.csv"], ("001",))
