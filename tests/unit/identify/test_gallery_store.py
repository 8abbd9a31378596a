"""People, templates, pictures: adding, changing, and deleting for good."""

from __future__ import annotations

import stat
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from identify_samples import HASH, JPEG, NETWORK, add_sighting, make_gallery, template, vector

from pipeline.errors import GalleryConflictError, GalleryError
from stages.identify.gallery import Gallery
from stages.identify.records import Template, clean_name, clean_text, name_key
from stages.identify.sightings import remove_sightings, sightings
from stages.identify.snapshot import take_snapshot


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "people.gallery"


def traces(path: Path, needle: bytes) -> list[str]:
    """Names of the files beside the gallery that hold `needle`."""
    return [one.name for one in path.parent.iterdir() if needle in one.read_bytes()]


def test_smoke_empty_gallery(path: Path) -> None:
    with Gallery.open(path, "create") as gallery:
        assert gallery.people() == []
        assert take_snapshot(gallery).sets == ()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [one.name for one in path.parent.iterdir()] == [path.name]


def test_smoke_person_comes_back_as_it_was_put_in(path: Path) -> None:
    with Gallery.open(path, "create") as gallery:
        gallery.add_person(
            "Anna", note="tall", consent="signed", thumbnail=JPEG, templates=[template(1)]
        )
    with Gallery.open(path) as gallery:
        person = gallery.person("ANNA")
        assert (person.name, person.note, person.consent) == ("Anna", "tall", "signed")
        assert person.templates == 1 and person.has_thumbnail
        assert gallery.thumbnail("anna") == JPEG
        (stored,) = gallery.templates("Anna")
        assert np.array_equal(stored.vector, vector(1)) and stored.vector.dtype == np.float32
        assert (stored.network, stored.weights_hash) == (NETWORK, HASH)
        assert gallery.person(person.id) == person


def test_smoke_file_modes_of_the_log(path: Path) -> None:
    with Gallery.open(path, "create") as gallery:
        gallery.add_person("Anna")
        for one in path.parent.iterdir():
            assert stat.S_IMODE(one.stat().st_mode) == 0o600, one


@pytest.mark.parametrize("other", ["anna", "ANNA", "  Anna ", "Ａnna"])
def test_exception_name_taken(path: Path, other: str) -> None:
    with Gallery.open(path, "create") as gallery:
        gallery.add_person("Anna")
        with pytest.raises(GalleryConflictError, match="already taken"):
            gallery.add_person(other)
        assert len(gallery.people()) == 1


def test_exception_names_beyond_ascii_fold_too(path: Path) -> None:
    with Gallery.open(path, "create") as gallery:
        gallery.add_person("Jürgen Weiß")
        with pytest.raises(GalleryConflictError):
            gallery.add_person("JÜRGEN WEISS")


@pytest.mark.parametrize("name", ["", "  ", "\x00\x1b", "x" * 121, "Unknown", "pending"])
def test_exception_unfit_name(path: Path, name: str) -> None:
    with Gallery.open(path, "create") as gallery, pytest.raises(GalleryError):
        gallery.add_person(name)


@given(st.text(max_size=200))
def test_property_clean_name_is_stable_and_printable(name: str) -> None:
    try:
        cleaned = clean_name(name)
    except GalleryError:
        return
    assert clean_name(cleaned) == cleaned
    assert not {unicodedata.category(char) for char in cleaned} & {"Cc", "Cs", "Zl", "Zp"}
    assert name_key(cleaned) == name_key(name_key(cleaned))
    cleaned.encode()


def test_property_clean_text_takes_terminal_codes_away() -> None:
    assert clean_text("a\x1b[31mb\x07\u202ec\nd") == "a[31mbc\nd"


@pytest.mark.parametrize(
    "bad",
    [
        np.zeros((8, 2), np.float64),
        np.zeros(8, np.float32),
        np.zeros((0, 2), np.float32),
        np.full((8, 2), np.nan, np.float32),
        np.full((8, 2), 1e30, np.float32),
    ],
)
def test_exception_unfit_template(bad: np.ndarray) -> None:
    with pytest.raises(GalleryError):
        Template(bad, NETWORK, HASH)


@pytest.mark.parametrize("weights", ["", "untrained", "untrained-1"])
def test_exception_untrained_vectors_are_not_stored(weights: str) -> None:
    with pytest.raises(GalleryError, match="trained weights"):
        template(1, weights=weights)


def test_exception_templates_of_one_network_have_one_shape(path: Path) -> None:
    with Gallery.open(path, "create") as gallery:
        gallery.add_person("Anna", templates=[template(1)])
        with pytest.raises(GalleryConflictError):
            gallery.add_template("Anna", Template(vector(2, (4, 4)), NETWORK, HASH))
        gallery.add_template("Anna", Template(vector(2, (4, 4)), NETWORK, "another"))
        assert gallery.person("Anna").templates == 2


def test_exception_failed_addition_leaves_nothing(path: Path) -> None:
    with Gallery.open(path, "create") as gallery:
        gallery.add_person("Anna", templates=[template(1)])
        before = gallery.revision()
        with pytest.raises(GalleryConflictError):
            gallery.add_person("Ben", templates=[Template(vector(2, (4, 4)), NETWORK, HASH)])
        assert [one.name for one in gallery.people()] == ["Anna"]
        assert gallery.revision() == before


def test_smoke_rename(path: Path) -> None:
    make_gallery(path, {"Anna": 1, "Ben": 2})
    with Gallery.open(path) as gallery:
        gallery.rename("anna", "ANNA")
        gallery.rename("ANNA", "Cleo")
        assert [one.name for one in gallery.people()] == ["Ben", "Cleo"]
        with pytest.raises(GalleryConflictError):
            gallery.rename("Ben", "cleo")
        with pytest.raises(GalleryConflictError, match="nobody"):
            gallery.rename("Anna", "Dora")
    assert traces(path, b"Anna") == [] == traces(path, b"anna")


def test_smoke_merge(path: Path) -> None:
    with Gallery.open(path, "create") as gallery:
        gallery.add_person("Anna", note="n1", consent="c", thumbnail=JPEG, templates=[template(1)])
        gallery.add_person("Anni", note="n2", consent="c", templates=[template(2)])
        gallery.merge("Anna", "Anni")
        (person,) = gallery.people()
        assert (person.name, person.note, person.consent) == ("Anni", "n2; n1", "c")
        assert person.templates == 2 and person.has_thumbnail
        with pytest.raises(GalleryConflictError, match="same person"):
            gallery.merge("Anni", "anni")
    assert traces(path, b"Anna") == []


def test_smoke_removal_leaves_no_trace(path: Path) -> None:
    with Gallery.open(path, "create") as gallery:
        for number in range(20):
            gallery.add_person(f"Other {number}", templates=[template(100 + number)])
        picture = JPEG + bytes(5000)
        gallery.add_person(
            "Zacharias", note="a private note", consent="agreed by letter", thumbnail=picture
        )
        large = vector(7, (256, 16))
        gallery.add_template("Zacharias", Template(large, "gaitgln", HASH, "hidden place"))
        gallery.add_template("Zacharias", template(8))
        seen = add_sighting(gallery, 3)
        person = gallery.person("Zacharias")
        from stages.identify.sightings import claim

        with gallery.change():
            claim(gallery, sightings(gallery)[0], person.id)
        needles = [
            *(b"Zacharias", b"zacharias", b"a private note", b"by letter", b"hidden place"),
            *(JPEG[4:200], person.id.encode(), vector(8).tobytes(), seen[0].tobytes()),
            *(large.tobytes()[:64], large.tobytes()[-64:]),
        ]
        for needle in needles:
            assert traces(path, needle), needle
        gallery.remove("zacharias")
        for needle in needles:
            assert traces(path, needle) == [], needle
        assert sightings(gallery) == []
        assert len(gallery.people()) == 20
    for needle in needles:
        assert traces(path, needle) == [], needle


def test_smoke_sightings_expire_and_leave_no_trace(path: Path) -> None:
    with Gallery.open(path, "create") as gallery:
        gone = add_sighting(gallery, 1, minutes=1e-9)
        kept = add_sighting(gallery, 2, minutes=None)
        assert [one.track_id for one in sightings(gallery)] == [2]
    assert traces(path, gone[0].tobytes())
    with Gallery.open(path) as gallery:
        assert traces(path, gone[0].tobytes()) == []
        assert gallery.tidy() == 0
        assert traces(path, kept[0].tobytes())
        assert remove_sightings(gallery, "another run") == 0
        assert remove_sightings(gallery) == 1
        assert traces(path, kept[0].tobytes()) == []


def test_smoke_revision_tells_of_people_not_of_sightings(path: Path) -> None:
    with Gallery.open(path, "create") as gallery, Gallery.open(path) as other:
        before = other.revision()
        add_sighting(gallery, 1)
        assert other.revision() == before
        gallery.add_person("Anna")
        assert other.revision() > before


def test_smoke_snapshot_groups_by_network(path: Path) -> None:
    with Gallery.open(path, "create") as gallery:
        gallery.add_person("Ben", templates=[template(1), template(2), template(3, weights="b")])
        gallery.add_person("Anna", templates=[template(4)])
        snapshot = take_snapshot(gallery)
    assert set(snapshot.names.values()) == {"Anna", "Ben"}
    first, second = snapshot.sets
    assert first.vectors.shape == (3, 8, 2) and list(first.owners) == sorted(first.owners)
    assert second.weights_hash == "b" and len(second.owners) == 1


def test_smoke_odd_paths(tmp_path: Path) -> None:
    folder = tmp_path / "a b#c?d%20é"
    folder.mkdir()
    make_gallery(folder / "g?x=1#y.db", {"Anna": 1})
    assert [one.name for one in folder.iterdir()] == ["g?x=1#y.db"]
