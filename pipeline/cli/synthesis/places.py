"""Where a set's files lie, whose they are, and what a folder that is not empty means."""

from __future__ import annotations

import fcntl
import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from pipeline.cli.synthesis.config import Kind
from pipeline.errors import InputError, OutputExistsError, UsageError
from stages.embed.runtimes.atomic_write import write_atomically

PACKED_SUFFIX = ".gaitpack"
SIDE_FILES = (
    *("manifest.json", "subjects.csv", "partition.json", "people.csv", "annotations.json"),
    "contact_sheet.png",
)
# Within the folder of parts: the lock, what is half written, gaits of the user's own clips.
LOCK, HALVES, GAITS = "lock", "halves", "gaits.npz"
# Folders that a set is made of: people (plan.subject_of) and scenes.
PART_NAME = re.compile(r"(train|test)\d+-\d{5,}|scene-\d{5,}")
# What is under way beside them: a scene's annotations, a file that is being written.
HALF_NAME = re.compile(r"\.(scene-\d{5,}\.json(\.part)?|annotations\.json\.part)")
# Our pictures in `images`, where a user's own may lie too.
PICTURE_NAME = re.compile(r"scene-\d{5,}_camera_\d+_\d{6,}\.jpg")
NAMED = 5


@dataclass(frozen=True, slots=True)
class Places:
    """Paths of a set.

    Attributes:
        out: the folder, or the packed file.
        parts: folder of what is not finished; gone when all is.
        gaits: therein, those of the user's own clips.
        halves: therein, what some process is just writing; of no use to a later run.
    """

    out: Path
    is_file: bool

    @property
    def parts(self) -> Path:
        return self.out.with_name(self.out.name + ".parts") if self.is_file else self.out / ".parts"

    @property
    def gaits(self) -> Path:
        return self.parts / GAITS

    @property
    def halves(self) -> Path:
        return self.parts / HALVES

    def side(self, name: str) -> Path:
        """Return the path of a file that goes with the set: of a packed file, beside it."""
        if not self.is_file:
            return self.out / name
        return self.out.with_name(f"{self.out.name.removesuffix(PACKED_SUFFIX)}.{name}")

    @property
    def manifest(self) -> Path:
        return self.side("manifest.json")


def places_of(out: Path, kind: Kind) -> Places:
    """Return where a set of a kind lies.

    Raises:
        UsageError: the name does not suit the kind, or its folder is not there.
    """
    is_file = kind == "packed"
    if is_file and (out.suffix != PACKED_SUFFIX or out.is_dir()):
        raise UsageError(
            f"--kind packed writes a file, got --out {out}",
            hint=f"Give a name that ends in {PACKED_SUFFIX}.",
        )
    if not is_file and (out.suffix == PACKED_SUFFIX or (out.exists() and not out.is_dir())):
        raise UsageError(f"--kind {kind} writes a folder, and --out {out} names a file")
    if not out.parent.is_dir():
        raise UsageError(f"cannot write {out}: there is no folder {out.parent}")
    return Places(out, is_file)


class Claim:
    """A set's place taken by this process: nobody else writes there. Use as a context.

    Attributes:
        is_finished: everything is there.
    """

    def __init__(self, places: Places, manifest: dict[str, Any], *, overwrite: bool) -> None:
        self._places = places
        self._wanted = manifest
        self._overwrite = overwrite
        self.is_finished = False
        self._is_new = not places.out.exists()
        self._lock: BinaryIO | None = None

    def __enter__(self) -> Claim:
        """Look at what is there, and write the manifest.

        Raises:
            OutputExistsError: another set, or something else, is there.
            InputError: another process writes there.
            OSError: the folder cannot be written.
        """
        found = read_manifest(self._places.manifest)
        if found is None:
            self._refuse_foreign()
        elif not self._overwrite:
            refuse_other(found, self._wanted, self._places)
            self.is_finished = bool(found["finished"])
            if self.is_finished:
                return self
        self._places.parts.mkdir(parents=True, exist_ok=True)
        self._take_lock()
        if found is not None and self._overwrite:
            remove_set(self._places)
        self._clear_halves()
        self._write(finished=False)
        return self

    def __exit__(self, *_: object) -> None:
        if self._lock is None:
            return
        if self._places.parts.is_dir():  # not finished
            self._clear_halves()
            self._leave_nothing_of_nothing()
        self._lock.close()

    def finish(self) -> None:
        """Say that all is there."""
        shutil.rmtree(self._places.parts)
        self._write(finished=True)
        self.is_finished = True

    def _leave_nothing_of_nothing(self) -> None:
        """Where no part was made the place is free again, for another set too."""
        out, parts, manifest = self._places.out, self._places.parts, self._places.manifest
        begun = {path.name for path in parts.iterdir()} - {LOCK, HALVES, GAITS}
        if self._places.is_file:
            begun |= {p.name for p in (out, out.with_name(f"{out.name}.partial")) if p.exists()}
        else:
            begun |= {path.name for path in out.iterdir()} - {parts.name, manifest.name}
        if begun:
            return
        shutil.rmtree(parts)
        manifest.unlink(missing_ok=True)
        if self._is_new and not self._places.is_file:
            out.rmdir()

    def _write(self, *, finished: bool) -> None:
        told = self._wanted | {"finished": finished}
        text = json.dumps(told, indent=2, ensure_ascii=False) + "\n"
        write_atomically(self._places.manifest, text.encode())

    def _clear_halves(self) -> None:
        shutil.rmtree(self._places.halves, ignore_errors=True)
        self._places.halves.mkdir()

    def _take_lock(self) -> None:
        self._lock = (self._places.parts / LOCK).open("ab")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.close()
            raise InputError(
                f"another process is writing {self._places.out}",
                hint="Wait for it, or choose another --out.",
            ) from None

    def _refuse_foreign(self) -> None:
        """Leave alone what is not ours."""
        if self._places.is_file:
            ours = (self._places.out, *map(self._places.side, SIDE_FILES))
            there = [path for path in ours if path.exists()]
        else:
            out = self._places.out
            there = sorted(out.iterdir()) if out.is_dir() else []
            there = [path for path in there if path != self._places.parts]
        if there:
            more = f" and {len(there) - NAMED} more" if len(there) > NAMED else ""
            names = ", ".join(path.name for path in there[:NAMED])
            raise OutputExistsError(
                f"{self._places.out} cannot be written: there are other things ({names}{more})",
                hint="Choose a new --out.",
            )


def read_manifest(path: Path) -> dict[str, Any] | None:
    """Return a set's manifest, None if there is none.

    Raises:
        InputError: it cannot be read.
    """
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {error}", hint="Choose a new --out.") from error
    if not isinstance(value, dict) or not {"config", "finished"} <= set(value):
        raise InputError(f"{path} is no manifest of a synthetic set", hint="Choose a new --out.")
    return value


def refuse_other(found: dict[str, Any], wanted: dict[str, Any], places: Places) -> None:
    """Raise OutputExistsError if what is there was asked for otherwise; name the differences."""
    there, here = _flat(found), _flat(wanted)
    names = [name for name in here | there if name != "finished"]
    different = [
        f"{name}: {json.dumps(there.get(name))} there, {json.dumps(here.get(name))} here"
        for name in names
        if there.get(name) != here.get(name)
    ]
    if not different:
        return
    kind = [line for line in different if line.startswith("config.kind:")]
    if all(line.startswith(("made_by.", "data.")) for line in different):
        told = f"{places.out} holds the same set, begun by another version of the program"
        hint = "Choose another --out, take that version, or --overwrite to remove what is there."
    else:
        told = f"{places.out} holds another set"
        hint = "Choose another --out, ask for the same, or --overwrite to remove what is there."
    # Of another kind nearly everything differs.
    raise OutputExistsError(f"{told}:\n  " + "\n  ".join(kind or different), hint=hint)


def remove_set(places: Places) -> None:
    """Remove a set and nothing else; the lock stays."""
    if places.is_file:
        for suffix in ("", ".partial", ".partial.jsonl"):
            places.out.with_name(places.out.name + suffix).unlink(missing_ok=True)
    else:
        for path in places.out.iterdir():
            is_folder = path.is_dir() and not path.is_symlink()
            if is_folder and path.name == "images":
                _remove_pictures(path)
            elif is_folder and PART_NAME.fullmatch(path.name):
                shutil.rmtree(path)
            elif not is_folder and HALF_NAME.fullmatch(path.name):
                path.unlink()
    for part in places.parts.iterdir():
        if part.name != LOCK and part.is_dir():
            shutil.rmtree(part)
        elif part.name != LOCK:
            part.unlink()
    for name in SIDE_FILES:
        places.side(name).unlink(missing_ok=True)


def _remove_pictures(folder: Path) -> None:
    for picture in folder.iterdir():
        if PICTURE_NAME.fullmatch(picture.name):
            picture.unlink()
    if not any(folder.iterdir()):
        folder.rmdir()


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(value, dict):
        return {prefix: value}
    found: dict[str, Any] = {}
    for key, inner in value.items():
        found |= _flat(inner, f"{prefix}.{key}" if prefix else str(key))
    return found
