"""Export, import, and files that mean harm."""

from __future__ import annotations

import io
import json
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from identify_samples import JPEG, template, vector

from pipeline.errors import GalleryConflictError, GalleryError, OutputExistsError
from stages.identify.exchange import export_gallery, import_gallery
from stages.identify.gallery import Gallery
from stages.identify.records import Template


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    target = tmp_path / "out.zip"
    with Gallery.open(tmp_path / "from.db", "create") as gallery:
        gallery.add_person(
            "Anna",
            note="tall",
            consent="signed",
            thumbnail=JPEG,
            templates=[template(1), template(2, quality=0.25, frames=90, source_label="hall")],
        )
        gallery.add_person("Ben", templates=[Template(vector(3, (4, 5)), "gei", "fixed")])
        gallery.add_person("Cleo")
        assert export_gallery(gallery, target) == 3
    return target


def summary(gallery: Gallery) -> list[tuple]:
    return [
        (
            one.name,
            one.note,
            one.consent,
            one.created_unix_ns,
            gallery.thumbnail(one.id),
            [
                (t.network, t.weights_hash, t.source_label, t.frames, t.quality, t.vector.tolist())
                for t in gallery.templates(one.id)
            ],
        )
        for one in gallery.people()
    ]


def test_parity_export_then_import(exported: Path, tmp_path: Path) -> None:
    with (
        Gallery.open(tmp_path / "from.db") as old,
        Gallery.open(tmp_path / "to.db", "create") as new,
    ):
        result = import_gallery(new, exported)
        assert result.added == ("Anna", "Ben", "Cleo") and result.templates == 3
        assert summary(new) == summary(old)
    assert stat.S_IMODE(exported.stat().st_mode) == 0o600


def test_smoke_export_is_data_that_numpy_reads(exported: Path) -> None:
    with np.load(exported, allow_pickle=False) as arrays:
        assert np.array_equal(arrays["vectors/0"][0], vector(1))


def test_golden_same_gallery_gives_same_file(exported: Path, tmp_path: Path) -> None:
    with Gallery.open(tmp_path / "from.db", "read") as gallery:
        export_gallery(gallery, tmp_path / "again.zip")
    assert (tmp_path / "again.zip").read_bytes() == exported.read_bytes()


def test_smoke_empty_gallery(tmp_path: Path) -> None:
    with Gallery.open(tmp_path / "g.db", "create") as gallery:
        export_gallery(gallery, tmp_path / "out.zip")
        assert import_gallery(gallery, tmp_path / "out.zip").added == ()


def test_exception_export_target(exported: Path, tmp_path: Path) -> None:
    with Gallery.open(tmp_path / "from.db") as gallery:
        with pytest.raises(OutputExistsError):
            export_gallery(gallery, exported)
        with pytest.raises(OutputExistsError):
            export_gallery(gallery, tmp_path, overwrite=True)
        with pytest.raises(GalleryError, match="cannot write"):
            export_gallery(gallery, tmp_path / "none" / "out.zip")
        export_gallery(gallery, exported, overwrite=True)
    assert not list(tmp_path.glob("*.new")) + list(tmp_path.glob(".*.new"))


def test_smoke_conflicts(exported: Path, tmp_path: Path) -> None:
    with Gallery.open(tmp_path / "to.db", "create") as gallery:
        gallery.add_person("ben", note="mine", templates=[template(9)])
        with pytest.raises(GalleryConflictError, match="nothing was imported"):
            import_gallery(gallery, exported)
        assert len(gallery.people()) == 1
        result = import_gallery(gallery, exported, on_conflict="rename")
        assert result.renamed == (("Ben", "Ben (2)"),)
        result = import_gallery(gallery, exported, on_conflict="merge")
        assert set(result.merged) == {"Anna", "ben", "Cleo"}
        # ben did not have that template yet, Anna had hers.
        assert result.templates == 1
        assert gallery.person("ben").templates == 2 and gallery.person("ben").note == "mine"
        assert import_gallery(gallery, exported, on_conflict="merge").templates == 0


def test_smoke_same_id_under_another_name(exported: Path, tmp_path: Path) -> None:
    with Gallery.open(tmp_path / "to.db", "create") as gallery:
        import_gallery(gallery, exported)
        gallery.rename("Anna", "Anna Maria")
        with pytest.raises(GalleryConflictError):
            import_gallery(gallery, exported)
        import_gallery(gallery, exported, on_conflict="merge")
        assert [one.name for one in gallery.people()] == ["Anna Maria", "Ben", "Cleo"]


def rewrite(path: Path, change: Callable[[dict[str, bytes]], None], **how: int) -> Path:
    """Write the archive's members again after `change`."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    target = path.with_name("hostile.zip")
    with zipfile.ZipFile(target, "w", **how) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return target


def edit_json(**paths: object) -> Callable[[dict[str, bytes]], None]:
    """A change that puts values at places like `sets__0__count`."""

    def change(members: dict[str, bytes]) -> None:
        data = json.loads(members["gallery.json"])
        for place, value in paths.items():
            *way, last = [int(p) if p.isdigit() else p for p in place.split("__")]
            target = data
            for step in way:
                target = target[step]
            target[last] = value
        members["gallery.json"] = json.dumps(data).encode()

    return change


def put(name: str, data: bytes) -> Callable[[dict[str, bytes]], None]:
    return lambda members: members.__setitem__(name, data)


def npy(array: np.ndarray, *, pickle: bool = False) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, allow_pickle=pickle)
    return buffer.getvalue()


HOSTILE: dict[str, Callable[[dict[str, bytes]], None]] = {
    "path traversal": put("../../evil", b"x"),
    "absolute path": put("/tmp/evil", b"x"),
    "hidden in a folder": put("vectors/../../evil.npy", b"x"),
    "extra member": put("evil.pkl", b"x"),
    "no json": lambda members: members.pop("gallery.json") and None,
    "no vectors": lambda members: members.pop("vectors/0.npy") and None,
    "no picture": lambda members: members.pop("thumbnails/0.jpg") and None,
    "json is a list": put("gallery.json", b"[]"),
    "json is not json": put("gallery.json", b"{"),
    "json is not utf-8": put("gallery.json", b'{"format": "\xff"}'),
    "json is deep": put("gallery.json", b"[" * 100_000),
    "json is deep inside": put(
        "gallery.json", b'{"format":"gaitstream-gallery","version":1,"x":' + b"[" * 100_000
    ),
    "another format": edit_json(format="other"),
    "newer version": edit_json(version=2),
    "version is a word": edit_json(version="1"),
    "huge count": edit_json(sets__0__count=1 << 24),
    "count beyond the limit": edit_json(sets__0__count=1 << 60),
    "negative side": edit_json(sets__0__c=-8),
    "huge side": edit_json(sets__0__c=1 << 20, sets__0__p=1 << 20),
    "swapped sides": edit_json(sets__0__c=2, sets__0__p=8),
    "row outside": edit_json(people__0__templates__0__row=2),
    "set outside": edit_json(people__0__templates__0__set=7),
    "negative row": edit_json(people__0__templates__0__row=-1),
    "picture outside": edit_json(people__0__thumbnail=99),
    "picture is a path": edit_json(people__0__thumbnail="../x"),
    "id is a path": edit_json(people__0__id="../../x"),
    "id is an injection": edit_json(people__0__id="'; DROP TABLE people; --"),
    "same id twice": lambda members: edit_json(
        people__0__id=json.loads(members["gallery.json"])["people"][1]["id"]
    )(members),
    "same name twice": edit_json(people__0__name="BEN"),
    "empty name": edit_json(people__0__name="\u0000"),
    "reserved name": edit_json(people__0__name="Unknown"),
    "long name": edit_json(people__0__name="x" * 5000),
    "quality above 1": edit_json(people__0__templates__0__quality=7.0),
    "frames beyond 64 bits": edit_json(people__0__templates__0__frames=1 << 70),
    "untrained": edit_json(sets__0__weights_hash=""),
    "float64": put("vectors/0.npy", npy(np.zeros((2, 8, 1)))),
    "int32": put("vectors/0.npy", npy(np.zeros((2, 8, 2), np.int32))),
    "big-endian": put("vectors/0.npy", npy(np.zeros((2, 8, 2), ">f4"))),
    "column order": put("vectors/0.npy", npy(np.asfortranarray(np.zeros((2, 8, 2), "<f4")))),
    "objects": put("vectors/0.npy", npy(np.array([{"a": 1}] * 40, object), pickle=True)),
    "not finite": put("vectors/0.npy", npy(np.full((2, 8, 2), np.nan, np.float32))),
    "not npy": put("vectors/0.npy", bytes(128 + 200)),
    "odd head": put("vectors/0.npy", b"\x93NUMPY\x01\x00v\x00" + b"(" * 118 + bytes(128)),
    "picture is no jpeg": put("thumbnails/0.jpg", b"<svg/>"),
    "picture is large": put("thumbnails/0.jpg", JPEG + bytes(2 << 20)),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_exception_hostile_file(exported: Path, tmp_path: Path, name: str) -> None:
    hostile = rewrite(exported, HOSTILE[name])
    before = sorted(tmp_path.iterdir())
    with Gallery.open(tmp_path / "to.db", "create") as gallery:
        with pytest.raises(GalleryError):
            import_gallery(gallery, hostile)
        assert gallery.people() == []
    assert sorted(tmp_path.iterdir()) == sorted([*before, tmp_path / "to.db"])


def test_exception_compressed_bomb(exported: Path, tmp_path: Path) -> None:
    bomb = rewrite(
        exported, put("vectors/0.npy", bytes(50 << 20)), compression=zipfile.ZIP_DEFLATED
    )
    assert bomb.stat().st_size < 1 << 20
    with (
        Gallery.open(tmp_path / "to.db", "create") as gallery,
        pytest.raises(GalleryError, match="compressed"),
    ):
        import_gallery(gallery, bomb)


def test_exception_sizes_that_lie(exported: Path, tmp_path: Path) -> None:
    data = bytearray(exported.read_bytes())
    place = data.rindex(b"vectors/0.npy") - 46  # its record in the central directory
    assert data[place : place + 4] == b"PK\x01\x02"
    data[place + 20 : place + 28] = (0xFFFFFFF0).to_bytes(4, "little") * 2
    exported.write_bytes(data)
    with (
        Gallery.open(tmp_path / "to.db", "create") as gallery,
        pytest.raises(GalleryError, match="claim"),
    ):
        import_gallery(gallery, exported)


@pytest.mark.parametrize("content", [b"", b"PK", b"not a zip at all" * 100])
def test_exception_not_a_zip(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.zip").write_bytes(content)
    with Gallery.open(tmp_path / "to.db", "create") as gallery:
        for path in (tmp_path / "x.zip", tmp_path / "none.zip", tmp_path):
            with pytest.raises(GalleryError, match="cannot be imported"):
                import_gallery(gallery, path)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(flips=st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(1, 255)), min_size=1))
def test_property_flipped_bytes_are_refused_or_harmless(
    flips: list[tuple[int, int]], exported: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("flip")
    data = bytearray(exported.read_bytes())
    for place, bits in flips:
        data[place % len(data)] ^= bits
    (folder / "x.zip").write_bytes(data)
    with Gallery.open(folder / "to.db", "create") as gallery:
        try:
            import_gallery(gallery, folder / "x.zip")
        except GalleryError:
            assert gallery.people() == []
