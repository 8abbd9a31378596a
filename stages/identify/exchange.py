"""A gallery as one file that holds data only, and back.

A zip: `gallery.json` (who), `vectors/0.npy` ... (float32 [n,c,p], one for each network and its
weights), `thumbnails/0.jpg` ... . It is also an .npz that `numpy.load` reads.
"""

from __future__ import annotations

import os
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

import msgspec
import numpy as np

from pipeline.errors import GalleryConflictError, GalleryError, OutputExistsError
from stages.identify.archive import (
    FORMAT,
    VERSION,
    Contents,
    Import,
    PersonEntry,
    SetEntry,
    TemplateEntry,
    read_archive,
)
from stages.identify.gallery import Gallery
from stages.identify.records import Template, clean_name
from stages.identify.vectors import VECTOR_DTYPE

OnConflict = Literal["refuse", "rename", "merge"]


@dataclass(frozen=True, slots=True)
class ImportResult:
    """What an import did: names as they are in the gallery now."""

    added: tuple[str, ...]
    merged: tuple[str, ...]
    renamed: tuple[tuple[str, str], ...]
    templates: int


# --- export


def export_gallery(gallery: Gallery, target: Path, *, overwrite: bool = False) -> int:
    """Write all people with templates and pictures to one file; return how many they are.

    Sightings are left out: they belong to nobody yet. The file is readable by its owner only.

    Raises:
        OutputExistsError: `target` exists and `overwrite` is False.
        GalleryError: `target` cannot be written to, or the gallery cannot be read.
    """
    if target.is_dir() or (target.exists() and not overwrite):
        raise OutputExistsError(f"{target} already exists", hint="choose another, or --overwrite")
    draft = target.with_name(f".{target.name}.{os.getpid()}.new")
    try:
        handle = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        try:
            with os.fdopen(handle, "wb") as file, gallery.look():
                count = _write_zip(gallery, file)
            draft.replace(target)
        finally:
            draft.unlink(missing_ok=True)
    except OSError as error:
        raise GalleryError(
            f"cannot write to {target}: {error.strerror or error}",
            hint="check the folder, its permissions and the free space",
        ) from error
    return count


def _write_zip(gallery: Gallery, file: IO[bytes]) -> int:
    people: list[PersonEntry] = []
    stacks: dict[tuple[str, str], list[np.ndarray]] = {}
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for number, person in enumerate(gallery.people()):
            picture = gallery.thumbnail(person.id)
            if picture is not None:
                archive.writestr(_member("thumbnails", number, "jpg"), picture)
            entries = []
            for template in gallery.templates(person.id):
                key = (template.network, template.weights_hash)
                stack = stacks.setdefault(key, [])
                entries.append(
                    TemplateEntry(
                        list(stacks).index(key),
                        len(stack),
                        template.source_label,
                        template.frames,
                        template.quality,
                        template.created_unix_ns,
                    )
                )
                stack.append(template.vector)
            people.append(
                PersonEntry(
                    person.id,
                    person.name,
                    person.note,
                    person.consent,
                    person.created_unix_ns,
                    None if picture is None else number,
                    tuple(entries),
                )
            )
        sets = tuple(SetEntry(*key, len(stack), *stack[0].shape) for key, stack in stacks.items())
        for number, stack in enumerate(stacks.values()):
            with archive.open(_member("vectors", number, "npy"), "w", force_zip64=True) as member:
                np.lib.format.write_array(
                    member, np.stack(stack).astype(VECTOR_DTYPE), allow_pickle=False
                )
        contents = Contents(FORMAT, VERSION, sets, tuple(people))
        archive.writestr(zipfile.ZipInfo("gallery.json"), msgspec.json.encode(contents))
    return len(people)


def _member(folder: str, number: int, ending: str) -> zipfile.ZipInfo:
    # A ZipInfo of its own has a fixed date, so the same gallery gives the same file.
    return zipfile.ZipInfo(f"{folder}/{number}.{ending}")


# --- import


def import_gallery(
    gallery: Gallery, source: Path, *, on_conflict: OnConflict = "refuse"
) -> ImportResult:
    """Read an exported file and add everybody in it; see `read_archive` and `import_people`."""
    return import_people(gallery, read_archive(source), on_conflict=on_conflict)


def import_people(
    gallery: Gallery, found: Import, *, on_conflict: OnConflict = "refuse"
) -> ImportResult:
    """Add everybody from an exported file, in one transaction: all of them, or nobody.

    Args:
        on_conflict: what to do if a name or id is taken: refuse everything; rename the newcomer
            to "Name (2)"; merge the newcomer's templates into who is there.

    Raises:
        GalleryConflictError: a name or id is taken and `on_conflict` is "refuse".
        GalleryError: the gallery cannot be written to, or holds other shapes of vectors.
    """
    contents, vectors, pictures = found.contents, found.vectors, found.pictures
    added, merged, renamed, templates = [], [], [], 0
    with gallery.change():
        for person in contents.people:
            name = clean_name(person.name)
            taken = gallery.owner_of(name, person.id)
            if taken is None:
                added.append(name)
                person_id = _insert(gallery, person, name, person.id, pictures[person.id])
            elif on_conflict == "rename":
                free = _free_name(gallery, name)
                renamed.append((name, free))
                person_id = _insert(gallery, person, free, None, pictures[person.id])
            elif on_conflict == "merge":
                merged.append(gallery.person(taken).name)
                person_id = taken
                gallery.append_notes(person_id, person.note, person.consent, pictures[person.id])
            else:
                raise GalleryConflictError(
                    f"{name!r} of {found.source} is already in {gallery.path}: nothing was "
                    "imported",
                    hint="--on-conflict rename keeps both, --on-conflict merge makes them one",
                )
            templates += _insert_templates(gallery, person_id, person, contents.sets, vectors)
    return ImportResult(tuple(added), tuple(merged), tuple(renamed), templates)


def _insert(
    gallery: Gallery, person: PersonEntry, name: str, person_id: str | None, jpeg: bytes | None
) -> str:
    return gallery.insert_person(
        name, person.note, person.consent, jpeg, person_id, person.created_unix_ns
    )


def _free_name(gallery: Gallery, name: str) -> str:
    number = 2
    while gallery.has(f"{name} ({number})"):
        number += 1
    return f"{name} ({number})"


def _insert_templates(
    gallery: Gallery,
    person_id: str,
    person: PersonEntry,
    sets: tuple[SetEntry, ...],
    vectors: tuple[np.ndarray, ...],
) -> int:
    """Add the templates that the person does not have yet, so that importing twice adds nothing."""
    known = {
        (one.network, one.weights_hash, one.vector.tobytes())
        for one in gallery.templates(person_id)
    }
    count = 0
    for entry in person.templates:
        origin = sets[entry.set]
        vector = vectors[entry.set][entry.row]
        key = (origin.network, origin.weights_hash, vector.tobytes())
        if key in known:
            continue
        known.add(key)
        gallery.insert_template(
            person_id,
            Template(
                *(vector, origin.network, origin.weights_hash, entry.source_label, entry.frames),
                *(entry.quality, entry.created_unix_ns),
            ),
        )
        count += 1
    return count
