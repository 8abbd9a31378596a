"""The gallery: who is known, and by which vectors.

One file, one `Gallery` object for it, one caller at a time. Every change is one transaction. What a
removed person leaves behind is wiped from the file, not only marked as free.
"""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType

from pipeline.clock import unix_ns
from pipeline.errors import GalleryConflictError, GalleryError
from stages.identify import schema
from stages.identify.records import (
    Person,
    Template,
    check_thumbnail,
    clean_name,
    clean_text,
    name_key,
)
from stages.identify.vectors import pack_vector, read_vector

_PERSON = """
SELECT id, name, note, consent, created_unix_ns, updated_unix_ns,
       (SELECT count(*) FROM templates WHERE person_id = people.id), thumbnail IS NOT NULL
FROM people
"""


class Gallery:
    """An open gallery. Use it in a `with` block, or close it.

    Every method may raise `GalleryError`, those that name a person also `GalleryConflictError`: the
    name is not there, or already taken. A person is meant by name (case does not matter) or by id.
    """

    def __init__(self, path: Path, connection: sqlite3.Connection, read_only: bool) -> None:
        self.path = path
        self.read_only = read_only
        self._connection = connection

    @classmethod
    def open(cls, path: Path | str, mode: schema.Mode = "write") -> Gallery:
        """Open the gallery at `path`; see `schema.Mode`. Expired sightings are deleted.

        Raises:
            GalleryError: missing (unless `mode` is "create"), a folder, not a gallery, damaged, of
                a newer version, or locked by another process for longer than `schema.WAIT_S`.
        """
        path = Path(path)
        gallery = cls(path, *schema.open_database(path, mode))
        if not gallery.read_only:
            # Another process may be writing just now. What has expired is not shown in any case,
            # and goes with the next opening.
            with suppress(GalleryError):
                gallery.tidy()
        return gallery

    def close(self) -> None:
        """Close the file. Closing twice does no harm."""
        with schema.readable_errors(self.path):
            self._connection.close()

    def __enter__(self) -> Gallery:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # --- the ground that sightings.py and exchange.py stand on

    def rows(self, query: str, values: Sequence[object] = ()) -> list[tuple]:
        """Return all rows of a SELECT."""
        with schema.readable_errors(self.path):
            return self._connection.execute(query, values).fetchall()

    def write(self, query: str, values: Sequence[object] = ()) -> sqlite3.Cursor:
        """Run one statement of a change; only inside `change`."""
        with schema.readable_errors(self.path):
            return self._connection.execute(query, values)

    @contextmanager
    def change(self, *, people: bool = True, wipe: bool = False) -> Iterator[None]:
        """Make everything inside the block one transaction: all of it happens, or nothing.

        Args:
            people: people or templates change, so that running stages must reload them.
            wipe: something private goes: afterwards its bytes are wiped from the file.

        Raises:
            GalleryError: read-only, locked, disk full; also if the change was made but another
                process kept the wiping from being done. It is then done at the next opening.
        """
        if self.read_only:
            raise GalleryError(
                f"the gallery {self.path} is open for reading only",
                hint="check the permissions of the file and of its folder",
            )
        self.write("BEGIN IMMEDIATE")
        try:
            yield
            if people:
                self.write("UPDATE meta SET value = value + 1 WHERE key = 'revision'")
            if wipe:
                self.write("UPDATE meta SET value = 1 WHERE key = 'scrub_due'")
            self.write("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self.write("ROLLBACK")
            raise
        if wipe:
            self.scrub()

    @contextmanager
    def look(self) -> Iterator[None]:
        """Let every read inside the block see the same moment."""
        self.write("BEGIN")
        try:
            yield
        finally:
            if self._connection.in_transaction:
                self.write("COMMIT")

    def scrub(self) -> None:
        """Rewrite the file without the remains of what was deleted, and empty its log.

        Raises:
            GalleryError: another process reads an older state of the gallery, so the log must stay.
        """
        self.write("VACUUM")
        if not self.checkpoint():
            raise GalleryError(
                f"the change to {self.path} is made, but another process is still reading the "
                "gallery, so deleted data remains in its files for now",
                hint="it is wiped the next time the gallery is opened and nobody else reads it",
            )
        self.write("UPDATE meta SET value = 0 WHERE key = 'scrub_due'")

    def checkpoint(self) -> bool:
        """Move the log into the main file and empty it; False if another process prevents it."""
        return self.rows("PRAGMA wal_checkpoint(TRUNCATE)")[0][0] == 0

    def tidy(self) -> int:
        """Delete expired sightings, finish a wiping that was put off; return the deletions.

        Cheaper than `scrub`: `secure_delete` has zeroed what was freed, only the log has to go.
        """
        expired = "expires_unix_ns IS NOT NULL AND expires_unix_ns <= ?"
        now = unix_ns()
        due = self._meta("scrub_due")
        deleted = self.rows(f"SELECT count(*) FROM sightings WHERE {expired}", (now,))[0][0]
        if deleted:
            with self.change(people=False):
                self.write(f"DELETE FROM sightings WHERE {expired}", (now,))
                self.write("UPDATE meta SET value = 1 WHERE key = 'scrub_due'")
        if due:
            self.scrub()
        elif deleted and self.checkpoint():
            self.write("UPDATE meta SET value = 0 WHERE key = 'scrub_due'")
        return deleted

    def _meta(self, key: str) -> int:
        found = self.rows("SELECT value FROM meta WHERE key = ?", (key,))
        if not found:
            raise schema.damaged(self.path, f"its entry {key!r} is missing")
        return found[0][0]

    # --- what changed

    def revision(self) -> int:
        """Return a number that grows with every change of people or templates.

        It costs microseconds, so a running stage asks it to learn whether to load them again.
        (SQLite's own `data_version` would also tell of every sighting that is written.)
        """
        return self._meta("revision")

    # --- reading

    def people(self) -> list[Person]:
        """Return everybody, by name."""
        return [_person(row) for row in self.rows(f"{_PERSON} ORDER BY name_key")]

    def person(self, name: str) -> Person:
        """Return one person."""
        return _person(self.rows(f"{_PERSON} WHERE id = ?", (self.id_of(name),))[0])

    def has(self, name: str) -> bool:
        """Say whether the name (or id) is taken."""
        return self._find(name) is not None

    def id_of(self, name: str) -> str:
        """Return the id of a person."""
        found = self._find(name)
        if found is None:
            raise GalleryConflictError(
                f"nobody in {self.path} is called {clean_text(name, 120)!r}",
                hint=f"`gallery list --gallery {self.path}` shows who is there",
            )
        return found

    def owner_of(self, name: str, person_id: str) -> str | None:
        """Return the id of whoever has this name, else of whoever has this id, else None."""
        return self._find(name) or self._find(person_id)

    def _find(self, name: str) -> str | None:
        key = name_key(clean_text(name))
        query = "SELECT id FROM people WHERE name_key = ? OR id = ? ORDER BY name_key = ? DESC"
        found = self.rows(query, (key, clean_text(name), key))
        return found[0][0] if found else None

    def templates(self, name: str) -> list[Template]:
        """Return a person's templates, oldest first."""
        query = """
            SELECT id, c, p, vector, crc32, network, weights_hash, source_label, frames, quality,
                   created_unix_ns
            FROM templates WHERE person_id = ? ORDER BY id
        """
        return [
            Template(read_vector(self.path, f"template {row[0]}", *row[1:5]), *row[5:])
            for row in self.rows(query, (self.id_of(name),))
        ]

    def thumbnail(self, name: str) -> bytes | None:
        """Return a person's picture as JPEG bytes, None if there is none."""
        query = "SELECT thumbnail FROM people WHERE id = ?"
        return self.rows(query, (self.id_of(name),))[0][0]

    # --- changing

    def add_person(
        self,
        name: str,
        *,
        note: str = "",
        consent: str = "",
        thumbnail: bytes | None = None,
        templates: Iterable[Template] = (),
    ) -> Person:
        """Add a person with any number of templates; the name must be free."""
        with self.change():
            person_id = self.insert_person(name, note, consent, thumbnail)
            for template in templates:
                self.insert_template(person_id, template)
        return self.person(person_id)

    def add_template(self, name: str, template: Template) -> None:
        """Add one more template to a person."""
        with self.change():
            self.insert_template(self.id_of(name), template)

    def set_thumbnail(self, name: str, jpeg: bytes) -> None:
        """Give a person a picture (JPEG, at most `records.MAX_THUMBNAIL_BYTES`)."""
        with self.change(wipe=self.thumbnail(name) is not None):
            query = "UPDATE people SET thumbnail = ?, updated_unix_ns = ? WHERE id = ?"
            self.write(query, (check_thumbnail(jpeg), unix_ns(), self.id_of(name)))

    def set_notes(self, name: str, *, note: str | None = None, consent: str | None = None) -> None:
        """Replace a person's note or consent note; None leaves it."""
        with self.change():
            person_id = self.id_of(name)
            for column, text in (("note", note), ("consent", consent)):
                if text is not None:
                    query = f"UPDATE people SET {column} = ?, updated_unix_ns = ? WHERE id = ?"
                    self.write(query, (clean_text(text), unix_ns(), person_id))

    def rename(self, old: str, new: str) -> None:
        """Give a person another name, which must be free (or differ in case only)."""
        new = clean_name(new)
        with self.change(wipe=True):
            person_id = self.id_of(old)
            if self._find(new) not in (None, person_id):
                raise _taken(self.path, new)
            self.write(
                "UPDATE people SET name = ?, name_key = ?, updated_unix_ns = ? WHERE id = ?",
                (new, name_key(new), unix_ns(), person_id),
            )

    def merge(self, source: str, into: str) -> None:
        """Move what is known of `source` to `into`, then delete `source`.

        Notes are joined; `into` keeps its picture if it has one.
        """
        with self.change(wipe=True):
            old, kept = self.person(source), self.person(into)
            if old.id == kept.id:
                raise GalleryConflictError(f"{old.name!r} and {kept.name!r} are the same person")
            for table in ("templates", "sightings"):
                query = f"UPDATE {table} SET person_id = ? WHERE person_id = ?"
                self.write(query, (kept.id, old.id))
            self.append_notes(kept.id, old.note, old.consent, self.thumbnail(old.id))
            self.write("DELETE FROM people WHERE id = ?", (old.id,))

    def remove(self, name: str) -> None:
        """Delete a person for good: templates, picture, and the sightings promoted to them."""
        with self.change(wipe=True):
            self.write("DELETE FROM people WHERE id = ?", (self.id_of(name),))

    def insert_person(
        self,
        name: str,
        note: str,
        consent: str,
        thumbnail: bytes | None,
        person_id: str | None = None,
        created_unix_ns: int = 0,
    ) -> str:
        """Add a row inside a `change`; return its id."""
        name = clean_name(name)
        if self.has(name):
            raise _taken(self.path, name)
        person_id = person_id or uuid.uuid4().hex
        now = unix_ns()
        if thumbnail is not None:
            check_thumbnail(thumbnail)
        self.write(
            "INSERT INTO people VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                person_id,
                name,
                name_key(name),
                clean_text(note),
                clean_text(consent),
                created_unix_ns or now,
                now,
                thumbnail,
            ),
        )
        return person_id

    def append_notes(
        self, person_id: str, note: str, consent: str, thumbnail: bytes | None
    ) -> None:
        """Add to a person's notes inside a `change`; the picture is taken if there was none."""
        kept = self.person(person_id)
        self.write(
            "UPDATE people SET note = ?, consent = ?, updated_unix_ns = ?, "
            "thumbnail = coalesce(thumbnail, ?) WHERE id = ?",
            (
                *(join_notes(kept.note, note), join_notes(kept.consent, consent)),
                *(unix_ns(), thumbnail, person_id),
            ),
        )

    def insert_template(self, person_id: str, template: Template) -> None:
        """Add a row inside a `change`. All templates of one network have one shape."""
        blob, c, p, crc32 = pack_vector(template.vector)
        network = (template.network, template.weights_hash)
        others = self.rows(
            "SELECT c, p FROM templates WHERE network = ? AND weights_hash = ? LIMIT 1", network
        )
        if others and others[0] != (c, p):
            raise GalleryConflictError(
                f"templates of {template.network} are {list(others[0])} in {self.path}, "
                f"this one is {[c, p]}",
                hint="both claim the same weights; one of them was made by another program",
            )
        self.write(
            "INSERT INTO templates (person_id, network, weights_hash, c, p, vector, crc32, "
            "source_label, frames, quality, created_unix_ns) VALUES (?,?,?,?,?,?,?,?,?,?,?)",
            (
                *(person_id, *network, c, p, blob, crc32),
                *(clean_text(template.source_label), template.frames, float(template.quality)),
                template.created_unix_ns or unix_ns(),
            ),
        )
        self.write("UPDATE people SET updated_unix_ns = ? WHERE id = ?", (unix_ns(), person_id))


def join_notes(first: str, second: str) -> str:
    """Return both notes, each once."""
    return "; ".join(dict.fromkeys(note for note in (first, second) if note))


def _taken(path: Path, name: str) -> GalleryConflictError:
    return GalleryConflictError(
        f"the name {name!r} is already taken in {path}",
        hint="choose another, or add to that person instead (`--add`)",
    )


def _person(row: tuple) -> Person:
    return Person(*(*row[:7], bool(row[7])))
