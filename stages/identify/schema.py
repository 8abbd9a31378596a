"""The gallery's file: its tables, how it is made and opened, and what its errors mean.

SQLite in WAL mode, so that a running stage reads while a command writes. A new file is built beside
its place and linked into it complete: no other process ever sees half a gallery.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Literal

from pipeline.errors import GalleryError

APPLICATION_ID = 0x67616974  # "gait"
VERSION = 1
WAIT_S = 3.0
MAGIC = b"SQLite format 3\x00"

# write: must exist. create: made if it is not there. read: never written to.
# any: write where the file system allows it, otherwise read.
Mode = Literal["write", "create", "read", "any"]

# The CHECKs on types matter when a file is damaged: integrity_check reports a row that breaks them.
TABLES = """
CREATE TABLE meta (
    key TEXT PRIMARY KEY, value INTEGER NOT NULL CHECK (typeof(value) = 'integer')
);
INSERT INTO meta VALUES ('revision', 1), ('scrub_due', 0);

CREATE TABLE people (
    id TEXT PRIMARY KEY NOT NULL CHECK (typeof(id) = 'text'),
    name TEXT NOT NULL CHECK (typeof(name) = 'text'),
    name_key TEXT NOT NULL UNIQUE CHECK (typeof(name_key) = 'text'),
    note TEXT NOT NULL CHECK (typeof(note) = 'text'),
    consent TEXT NOT NULL CHECK (typeof(consent) = 'text'),
    created_unix_ns INTEGER NOT NULL CHECK (typeof(created_unix_ns) = 'integer'),
    updated_unix_ns INTEGER NOT NULL CHECK (typeof(updated_unix_ns) = 'integer'),
    thumbnail BLOB CHECK (typeof(thumbnail) IN ('blob', 'null'))
);

CREATE TABLE templates (
    id INTEGER PRIMARY KEY,
    person_id TEXT NOT NULL REFERENCES people (id) ON DELETE CASCADE,
    network TEXT NOT NULL CHECK (typeof(network) = 'text'),
    weights_hash TEXT NOT NULL CHECK (typeof(weights_hash) = 'text'),
    c INTEGER NOT NULL CHECK (typeof(c) = 'integer' AND c > 0),
    p INTEGER NOT NULL CHECK (typeof(p) = 'integer' AND p > 0),
    vector BLOB NOT NULL CHECK (typeof(vector) = 'blob' AND length(vector) = 4 * c * p),
    crc32 INTEGER NOT NULL CHECK (typeof(crc32) = 'integer'),
    source_label TEXT NOT NULL CHECK (typeof(source_label) = 'text'),
    frames INTEGER NOT NULL CHECK (typeof(frames) = 'integer'),
    quality REAL NOT NULL CHECK (typeof(quality) = 'real'),
    created_unix_ns INTEGER NOT NULL CHECK (typeof(created_unix_ns) = 'integer')
);
CREATE INDEX templates_person ON templates (person_id);
CREATE INDEX templates_network ON templates (network, weights_hash, person_id, id);

CREATE TABLE sightings (
    id INTEGER PRIMARY KEY,
    run_id TEXT NOT NULL CHECK (typeof(run_id) = 'text'),
    source_id TEXT NOT NULL CHECK (typeof(source_id) = 'text'),
    track_id INTEGER NOT NULL CHECK (typeof(track_id) = 'integer'),
    source_label TEXT NOT NULL CHECK (typeof(source_label) = 'text'),
    run_dir TEXT NOT NULL CHECK (typeof(run_dir) = 'text'),
    network TEXT NOT NULL CHECK (typeof(network) = 'text'),
    weights_hash TEXT NOT NULL CHECK (typeof(weights_hash) = 'text'),
    start_ns INTEGER NOT NULL CHECK (typeof(start_ns) = 'integer'),
    end_ns INTEGER NOT NULL CHECK (typeof(end_ns) = 'integer'),
    windows INTEGER NOT NULL CHECK (typeof(windows) = 'integer'),
    frames INTEGER NOT NULL CHECK (typeof(frames) = 'integer'),
    person_id TEXT REFERENCES people (id) ON DELETE CASCADE,
    created_unix_ns INTEGER NOT NULL CHECK (typeof(created_unix_ns) = 'integer'),
    expires_unix_ns INTEGER CHECK (typeof(expires_unix_ns) IN ('integer', 'null')),
    UNIQUE (run_id, source_id, track_id)
);
CREATE INDEX sightings_person ON sightings (person_id);
CREATE INDEX sightings_expiry ON sightings (expires_unix_ns);

CREATE TABLE sighting_vectors (
    id INTEGER PRIMARY KEY,
    sighting_id INTEGER NOT NULL REFERENCES sightings (id) ON DELETE CASCADE,
    start_ns INTEGER NOT NULL CHECK (typeof(start_ns) = 'integer'),
    end_ns INTEGER NOT NULL CHECK (typeof(end_ns) = 'integer'),
    frames INTEGER NOT NULL CHECK (typeof(frames) = 'integer'),
    quality REAL NOT NULL CHECK (typeof(quality) = 'real'),
    c INTEGER NOT NULL CHECK (typeof(c) = 'integer' AND c > 0),
    p INTEGER NOT NULL CHECK (typeof(p) = 'integer' AND p > 0),
    vector BLOB NOT NULL CHECK (typeof(vector) = 'blob' AND length(vector) = 4 * c * p),
    crc32 INTEGER NOT NULL CHECK (typeof(crc32) = 'integer')
);
CREATE INDEX sighting_vectors_sighting ON sighting_vectors (sighting_id);
"""

# SQLite's own words, which have not changed in ten years; its numeric codes reach Python only
# from 3.11 on.
_MEANINGS: tuple[tuple[str, str, str], ...] = (
    (
        "locked",
        f"is in use by another process that did not let go of it within {WAIT_S:g} s",
        "wait for that process or stop it, then try again",
    ),
    (
        "readonly",
        "cannot be written to",
        "check the permissions of the file and of its folder",
    ),
    ("full", "cannot grow: the disk is full", "free some space and try again"),
    ("disk i/o", "cannot be read or written: the disk reports an error", "check the disk"),
    ("unable to open", "cannot be opened", "check the permissions of the file and of its folder"),
    (
        "not a database",
        "is not a gallery: it is not an SQLite file, or its head is damaged",
        "check the path, or restore the file from a copy or an export",
    ),
    ("too big", "cannot hold a value of this size", ""),
)
_DAMAGED = "restore it from a copy or from an export (`gallery import`)"


def damaged(path: Path, what: str) -> GalleryError:
    """Return the error for a gallery whose content contradicts itself."""
    return GalleryError(f"the gallery {path} is damaged: {what}", hint=_DAMAGED)


def explain(error: sqlite3.Error, path: Path) -> GalleryError:
    """Return what an error of SQLite means to somebody who has never heard of SQLite."""
    text = str(error).lower()
    for sign, meaning, hint in _MEANINGS:
        if sign in text:
            return GalleryError(f"the gallery {path} {meaning}", hint=hint)
    if isinstance(error, sqlite3.DatabaseError) and (
        "malformed" in text or "could not decode" in text or "no such" in text
    ):
        return damaged(path, str(error))
    return GalleryError(f"the gallery {path} cannot be used: {error}")


@contextmanager
def readable_errors(path: Path) -> Iterator[None]:
    """Turn SQLite's errors inside the block into `GalleryError`."""
    try:
        yield
    except sqlite3.Error as error:
        raise explain(error, path) from error
    except UnicodeDecodeError as error:
        # Python decodes even SQLite's messages, which quote the damaged file.
        raise damaged(path, "a text in it is not UTF-8") from error
    except OverflowError as error:
        raise GalleryError(f"a number is too large for the gallery {path}: {error}") from error


def open_database(path: Path, mode: Mode) -> tuple[sqlite3.Connection, bool]:
    """Return a connection to a checked gallery, and whether it is read-only.

    Raises:
        GalleryError: missing, a folder, no gallery, damaged, of a newer version, locked, or not to
            be opened.
    """
    try:
        path = path.resolve()
        _check_place(path, mode)
        if mode == "create" and not (path.exists() and path.stat().st_size):
            _create(path)
        _check_magic(path)
    except (OSError, ValueError, RuntimeError) as error:
        # A NUL in the name is a ValueError, a circle of links a RuntimeError before Python 3.13.
        raise GalleryError(
            f"the gallery {path} cannot be opened: {getattr(error, 'strerror', None) or error}",
            hint="check the path and the permissions of the file and of its folder",
        ) from error
    read_only = mode == "read" or (mode == "any" and not _may_write(path))
    with readable_errors(path):
        connection = _connect_read_only(path) if read_only else _connect(path, "mode=rw")
        try:
            _check_content(connection, path)
        except BaseException:
            connection.close()
            raise
    return connection, read_only


def _check_place(path: Path, mode: Mode) -> None:
    if path.is_dir():
        raise GalleryError(f"the gallery {path} is a folder", hint="give the path of a file in it")
    if path.exists():
        if not path.is_file():
            raise GalleryError(f"the gallery {path} is not an ordinary file")
        if path.stat().st_size == 0 and mode != "create":
            raise GalleryError(
                f"the gallery {path} is an empty file", hint="enrol a person into it"
            )
        return
    if mode != "create":
        raise GalleryError(
            f"there is no gallery at {path}",
            hint="`enroll --source VIDEO --name NAME --gallery FILE` makes one",
        )
    if not path.parent.is_dir():
        raise GalleryError(
            f"the gallery {path} cannot be made: there is no folder {path.parent}",
            hint="make the folder first",
        )


def _check_magic(path: Path) -> None:
    with path.open("rb") as file:
        head = file.read(len(MAGIC))
    if head != MAGIC:
        raise GalleryError(
            f"{path} is not a gallery: it is not an SQLite file, or its head is damaged",
            hint="check the path, or restore the file from a copy or an export",
        )


def _may_write(path: Path) -> bool:
    return os.access(path, os.W_OK) and os.access(path.resolve().parent, os.W_OK)


def _connect(path: Path, options: str) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"{path.resolve().as_uri()}?{options}",
        uri=True,
        timeout=WAIT_S,
        isolation_level=None,
        # One caller at a time, but not always the same thread: a runner may set up in one and
        # close in another.
        check_same_thread=False,
    )
    try:
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA secure_delete = ON")
        # VACUUM's scratch copy must not leave a person's vectors in a temporary file.
        connection.execute("PRAGMA temp_store = MEMORY")
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("PRAGMA cell_size_check = ON")
        # Deletions have to be on the disk when we say that they are.
        connection.execute("PRAGMA synchronous = FULL")
        # The first look into the file: whatever is wrong with it shows here.
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except BaseException:
        connection.close()
        raise
    return connection


def _connect_read_only(path: Path) -> sqlite3.Connection:
    try:
        return _connect(path, "mode=ro")
    except sqlite3.OperationalError:
        # In a folder that cannot be written to, WAL's shared memory cannot be made. Without a WAL
        # everything is in the main file, which nobody who lacks that memory can be writing to.
        if _wal_bytes(path) or _may_write(path):
            raise
        return _connect(path, "mode=ro&immutable=1")


def _wal_bytes(path: Path) -> int:
    wal = path.with_name(path.name + "-wal")
    return wal.stat().st_size if wal.exists() else 0


def _check_content(connection: sqlite3.Connection, path: Path) -> None:
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if application != APPLICATION_ID:
        raise GalleryError(
            f"{path} is a database of another application (id {application:#x}, "
            f"expected {APPLICATION_ID:#x})",
            hint="check the path",
        )
    if version > VERSION:
        raise GalleryError(
            f"the gallery {path} has version {version}, this program knows up to {VERSION}",
            hint="update the program",
        )
    if version < 1:
        raise damaged(path, f"its version is {version}")
    # Not quick_check: that one does not compare indexes with tables, and a search through a damaged
    # index gives wrong rows. 10 000 people take 40 ms.
    verdict = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
    if verdict != "ok":
        raise damaged(path, str(verdict))
    tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master")}
    missing = {"meta", "people", "templates", "sightings", "sighting_vectors"} - tables
    if missing:
        raise damaged(path, f"without the tables {', '.join(sorted(missing))}")


def _create(path: Path) -> None:
    """Build an empty gallery beside `path` and put it there, unless another process was faster."""
    draft = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.new")
    try:
        os.close(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        with readable_errors(path), closing(_connect(draft, "mode=rw")) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {VERSION}")
            connection.executescript(TABLES)
        if path.exists() and path.stat().st_size == 0:
            path.unlink()
        try:
            os.link(draft, path)
        except FileExistsError:
            return
        except OSError:
            # A file system without hard links. Two processes creating the same gallery at the
            # same moment could then lose one's first person; there is nothing better there.
            draft.rename(path)
    finally:
        for leftover in ("", "-wal", "-shm"):
            draft.with_name(draft.name + leftover).unlink(missing_ok=True)
