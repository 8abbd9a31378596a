"""Files that are no gallery, damaged, locked, of another version, or not to be written to."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from identify_samples import add_sighting, make_gallery, template, vector

from pipeline.errors import GalleryError
from stages.identify import schema
from stages.identify.gallery import Gallery
from stages.identify.sightings import sighting_vectors, sightings
from stages.identify.snapshot import take_snapshot


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "people.gallery"


class Sound(bytes):
    """A sound gallery's file; hypothesis would complain of its long repr."""

    def __repr__(self) -> str:
        return "sound"


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Sound:
    path = make_gallery(tmp_path_factory.mktemp("sound") / "g.db", {"Anna": 1, "Ben": 2})
    with Gallery.open(path) as gallery:
        add_sighting(gallery, 1)
        gallery.checkpoint()
    return Sound(path.read_bytes())


def read_all(path: Path, mode: schema.Mode = "any") -> list[str]:
    with Gallery.open(path, mode) as gallery:
        take_snapshot(gallery)
        for person in gallery.people():
            gallery.templates(person.id)
            gallery.thumbnail(person.id)
        for one in sightings(gallery):
            sighting_vectors(gallery, one)
        return [person.name for person in gallery.people()]


def refuse_to_open(path: Path, pattern: str, mode: schema.Mode = "write") -> None:
    with pytest.raises(GalleryError, match=pattern):
        Gallery.open(path, mode)


@pytest.mark.parametrize("mode", ["write", "read", "any"])
def test_exception_missing(path: Path, mode: schema.Mode) -> None:
    refuse_to_open(path, "there is no gallery", mode)
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize("mode", ["write", "create", "any"])
def test_exception_folder(tmp_path: Path, mode: schema.Mode) -> None:
    refuse_to_open(tmp_path, "is a folder", mode)


def test_exception_no_folder_to_create_in(path: Path) -> None:
    refuse_to_open(path / "deeper" / "g.db", "no folder", "create")


@pytest.mark.parametrize("content", [b"x", b"hello world, this is a text file\n" * 100])
@pytest.mark.parametrize("mode", ["write", "create", "any"])
def test_exception_not_sqlite(path: Path, content: bytes, mode: schema.Mode) -> None:
    path.write_bytes(content)
    refuse_to_open(path, "not an SQLite file", mode)
    assert path.read_bytes() == content
    assert list(path.parent.iterdir()) == [path]


def test_exception_empty_file(path: Path) -> None:
    path.touch()
    refuse_to_open(path, "empty file")
    make_gallery(path, {"Anna": 1})
    assert read_all(path) == ["Anna"]


@pytest.mark.parametrize("bad", ["nul\x00byte", "x" * 5000])
def test_exception_impossible_path(tmp_path: Path, bad: str) -> None:
    refuse_to_open(tmp_path / bad, "cannot be opened", "create")


def test_exception_looping_link(path: Path) -> None:
    path.symlink_to(path)
    refuse_to_open(path, "cannot be opened|cannot be made", "create")


def test_exception_special_file(path: Path) -> None:
    os.mkfifo(path)
    refuse_to_open(path, "not an ordinary file")


def test_exception_other_application(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE holidays (day TEXT)")
        database.commit()
    before = path.read_bytes()
    refuse_to_open(path, "another application")
    refuse_to_open(path, "another application", "create")
    assert path.read_bytes() == before


@pytest.mark.parametrize(("version", "pattern"), [(99, "version 99"), (0, "damaged")])
def test_exception_other_version(path: Path, version: int, pattern: str) -> None:
    make_gallery(path, {})
    with closing(sqlite3.connect(path)) as database:
        database.execute(f"PRAGMA user_version = {version}")
        database.commit()
    refuse_to_open(path, pattern)


def test_exception_table_missing(path: Path) -> None:
    make_gallery(path, {})
    with closing(sqlite3.connect(path)) as database:
        database.execute("DROP TABLE sighting_vectors")
        database.commit()
    refuse_to_open(path, "sighting_vectors")


def test_exception_truncated(path: Path, sound: Sound) -> None:
    for size in (50, 100, 1000, 4096, 5000, 12288, len(sound) - 4096, len(sound) - 1):
        path.write_bytes(sound[:size])
        with pytest.raises(GalleryError):
            read_all(path)
        for leftover in path.parent.iterdir():
            leftover.unlink()


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(flips=st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(1, 255)), min_size=1))
def test_property_flipped_bytes_are_survived_or_reported(
    flips: list[tuple[int, int]], sound: Sound, tmp_path_factory: pytest.TempPathFactory
) -> None:
    damaged = bytearray(sound)
    for place, bits in flips:
        damaged[place % len(sound)] ^= bits
    path = tmp_path_factory.mktemp("flip") / "g.db"
    path.write_bytes(damaged)
    for mode in ("read", "write"):
        try:
            read_all(path, mode)  # type: ignore[arg-type]
        except GalleryError as error:
            assert len(str(error)) > 20
        for leftover in path.parent.glob("g.db-*"):
            leftover.unlink()


def test_exception_flipped_bit_in_a_vector_is_found(path: Path, sound: Sound) -> None:
    place = sound.index(vector(1).tobytes())
    damaged = bytearray(sound)
    damaged[place + 2] ^= 1
    path.write_bytes(damaged)
    with Gallery.open(path) as gallery:
        assert len(gallery.people()) == 2
        with pytest.raises(GalleryError, match="has changed since it was written"):
            take_snapshot(gallery)
        with pytest.raises(GalleryError, match="has changed since it was written"):
            gallery.templates("Anna")


def test_exception_read_only(path: Path) -> None:
    make_gallery(path, {"Anna": 1})
    with Gallery.open(path, "read") as gallery:
        assert gallery.people()[0].name == "Anna"
        for change in (
            lambda: gallery.add_person("Ben"),
            lambda: gallery.remove("Anna"),
            lambda: gallery.rename("Anna", "Ben"),
        ):
            with pytest.raises(GalleryError, match="reading only"):
                change()
    assert read_all(path, "read") == ["Anna"]


UNPRIVILEGED = """
import os, sys
sys.path[:0] = [os.getcwd()]
from pipeline.errors import GalleryError
from stages.identify.gallery import Gallery
from stages.identify.snapshot import take_snapshot
if os.getuid() == 0:
    os.setuid(65534)
for mode in ("any", "read"):
    with Gallery.open(sys.argv[1], mode) as gallery:
        take_snapshot(gallery)
        print([one.name for one in gallery.people()], gallery.read_only)
for mode in ("write", "create"):
    try:
        with Gallery.open(sys.argv[1], mode) as gallery:
            gallery.add_person("Ben")
    except GalleryError as error:
        print(error.message[-20:])
"""


def test_exception_folder_that_cannot_be_written_to(path: Path) -> None:
    make_gallery(path, {"Anna": 1})
    path.chmod(0o444)
    folders = [path.parent, *path.parent.parents]
    modes = [folder.stat().st_mode for folder in folders]
    try:
        for folder, mode in zip(folders[:4], modes, strict=False):
            folder.chmod(mode | 0o755)
        path.parent.chmod(0o555)
        command = [sys.executable, "-W", "error", "-c", UNPRIVILEGED, str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    finally:
        for folder, mode in zip(folders[:4], modes, strict=False):
            folder.chmod(mode)
    assert done.stderr == ""
    assert done.stdout.splitlines() == ["['Anna'] True"] * 2 + ["cannot be written to"] * 2


def test_exception_disk_full(path: Path) -> None:
    make_gallery(path, {"Anna": 1})
    with Gallery.open(path) as gallery:
        pages = gallery.rows("PRAGMA page_count")[0][0]
        gallery.rows(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(GalleryError, match="disk is full"):
            gallery.add_person("Ben", note="x" * 4000, templates=[template(2)] * 50)
        assert [one.name for one in gallery.people()] == ["Anna"]
        gallery.rows("PRAGMA max_page_count = 100000")
        gallery.add_person("Ben")


HOLD = """
import sqlite3, sys
database = sqlite3.connect(sys.argv[1], isolation_level=None)
for line in sys.argv[2:]:
    database.execute(line).fetchall() if not line.startswith("SELECT") else None
    if line.startswith("SELECT"):
        cursor = database.execute(line); cursor.fetchone()
print("holding", flush=True)
sys.stdin.read()
"""


class Holder:
    """Another process that holds a lock until the block ends."""

    def __init__(self, path: Path, *statements: str) -> None:
        self.command = [sys.executable, "-c", HOLD, str(path), *statements]

    def __enter__(self) -> None:
        self.process = subprocess.Popen(
            self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "holding\n"

    def __exit__(self, *_: object) -> None:
        self.process.communicate("")


@pytest.fixture
def short_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "WAIT_S", 0.2)


@pytest.mark.usefixtures("short_wait")
def test_exception_locked_for_writing(path: Path) -> None:
    make_gallery(path, {"Anna": 1})
    with Holder(path, "BEGIN IMMEDIATE"), Gallery.open(path) as gallery:
        assert gallery.people()[0].name == "Anna"
        with pytest.raises(GalleryError, match="in use by another process"):
            gallery.add_person("Ben")
    with Gallery.open(path) as gallery:
        gallery.add_person("Ben")


@pytest.mark.usefixtures("short_wait")
def test_exception_locked_altogether(path: Path) -> None:
    make_gallery(path, {"Anna": 1})
    with Holder(path, "PRAGMA locking_mode = EXCLUSIVE", "BEGIN EXCLUSIVE"):
        refuse_to_open(path, "in use by another process")
    assert read_all(path) == ["Anna"]


@pytest.mark.usefixtures("short_wait")
def test_exception_expired_sightings_stay_hidden_while_locked(path: Path) -> None:
    make_gallery(path, {"Anna": 1})
    with Gallery.open(path) as gallery:
        add_sighting(gallery, 1, minutes=1e-9)
    with Holder(path, "BEGIN IMMEDIATE"), Gallery.open(path) as gallery:
        assert sightings(gallery) == []
        assert gallery.rows("SELECT count(*) FROM sightings") == [(1,)]
    with Gallery.open(path) as gallery:
        assert gallery.rows("SELECT count(*) FROM sightings") == [(0,)]


@pytest.mark.usefixtures("short_wait")
def test_exception_reader_delays_the_wiping_until_the_next_opening(path: Path) -> None:
    make_gallery(path, {"Zacharias": 1, "Ben": 2})
    needle = vector(1).tobytes()
    with Holder(path, "BEGIN", "SELECT * FROM people, templates"):
        with (
            Gallery.open(path) as gallery,
            pytest.raises(GalleryError, match="remains in its files"),
        ):
            gallery.remove("Zacharias")
        with Gallery.open(path) as gallery:
            assert [one.name for one in gallery.people()] == ["Ben"]
    with Gallery.open(path):
        for one in path.parent.iterdir():
            content = one.read_bytes()
            assert needle not in content and b"Zacharias" not in content, one


def test_smoke_removal_beside_an_open_idle_reader(path: Path) -> None:
    make_gallery(path, {"Zacharias": 1, "Ben": 2})
    with Gallery.open(path, "read") as stage:
        take_snapshot(stage)
        before = stage.revision()
        with Gallery.open(path) as gallery:
            gallery.remove("Zacharias")
        assert stage.revision() > before
        assert [one.name for one in stage.people()] == ["Ben"]
        for one in path.parent.iterdir():
            assert vector(1).tobytes() not in one.read_bytes(), one


ADD = """
import sys
from stages.identify.gallery import Gallery
with Gallery.open(sys.argv[1], "create") as gallery:
    for number in range(10):
        gallery.add_person(f"{sys.argv[2]} {number}")
"""


def test_smoke_processes_create_and_fill_one_gallery_together(path: Path) -> None:
    writers = [
        subprocess.Popen([sys.executable, "-W", "error", "-c", ADD, str(path), name])
        for name in ("a", "b", "c")
    ]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    assert len(read_all(path)) == 30
    assert [one.name for one in path.parent.iterdir()] == [path.name]
