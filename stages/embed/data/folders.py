"""The public data sets' layout: `root/<id>/<type>/<view>/`, one sequence in each folder.

So OpenGait's preparation writes CASIA-B (types nm-01 to nm-06, bg-01, bg-02, cl-01, cl-02; views
000 to 180), OUMVLP (types 00 and 01; views 000 to 270), GREW, and Gait3D (types camid0_videoid2,
views seq0, SMPL rows beside the silhouettes). `stages.embed.sequences` says what a folder may hold.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.errors import InputError
from stages.embed.data.interface import Entry, StoredClip
from stages.embed.sequences import (
    MAX_STORED_FRAMES,
    SIDES,
    SilhouetteSequence,
    find_sequences,
    read_sequence,
    stored_height,
)

log = logging.getLogger(__name__)

LEVELS = ("id", "type", "view")
SCAN_THREADS = 4
NAMED = 5

FIELDS = {"silhouettes": "silhouettes", "theta": "theta", "keypoints": "keypoints_px"}

Progress = Callable[[int, int], None]  # done, of how many


@dataclass(frozen=True, slots=True)
class Skipped:
    """A sequence that cannot be used, by its folder's name, and why."""

    name: str
    reason: str


class FolderStore:
    """A `SequenceStore` over a folder in the public layout.

    Every sequence is read once at construction, for its length and to find broken ones. Reading
    costs a whole file, whichever frames are wanted: for training on much data, pack it.

    Attributes:
        skipped: sequences that cannot be used, each with its reason. They are no entries.
        notes: by name, what was done to sequences on reading, such as faint masks left out.
    """

    def __init__(
        self,
        root: Path,
        subjects: Collection[str] | None = None,
        height: int | None = None,
        on_progress: Progress | None = None,
    ) -> None:
        """Scan a folder.

        Args:
            subjects: whom to take; None takes all.
            height: of the silhouettes, 64 or 128; None for that of the first. Larger ones are
                halved, smaller ones are skipped.

        Raises:
            InputError: no folder, or no usable sequence in it.
        """
        folders, self.skipped = _in_layout(root, subjects)
        self.height = height or _first_height(folders)
        self._width = self.height * 11 // 16
        found: list[tuple[Path, Entry, frozenset[str]]] = []
        self.notes: dict[str, tuple[str, ...]] = {}
        with ThreadPoolExecutor(SCAN_THREADS) as pool:
            for done, (folder, result) in enumerate(
                zip(folders, pool.map(self._look, folders), strict=True)
            ):
                name = "/".join(folder.parts[-len(LEVELS) :])
                if isinstance(result, str):
                    self.skipped.append(Skipped(name, result))
                else:
                    found.append((folder, *result[:2]))
                    self.notes |= {name: result[2]} if result[2] else {}
                if on_progress is not None:
                    on_progress(done + 1, len(folders))
        if not found:
            reasons = "".join(f"\n  {s.name}: {s.reason}" for s in self.skipped[:3])
            raise InputError(
                f"none of {len(folders)} sequences in {root} can be used{reasons}",
                hint="Each is a folder id/type/view with one .pkl or sils.npy of uint8 [T,H,H].",
            )
        self._folders = [folder for folder, _, _ in found]
        self.entries: Sequence[Entry] = [entry for _, entry, _ in found]
        self.has = frozenset.intersection(*(has for _, _, has in found))
        _say_incomplete([(entry.name, has) for _, entry, has in found])

    def read(
        self, index: int, frames: np.ndarray | None = None, wanted: frozenset[str] | None = None
    ) -> StoredClip:
        """See `SequenceStore.read`."""
        entry = self.entries[index]
        sequence = self._read(self._folders[index])
        if len(sequence.silhouettes) != entry.frames:
            raise InputError(
                f"{entry.name}: {len(sequence.silhouettes)} frames, there were {entry.frames} when "
                "the folder was scanned"
            )
        wanted = self.has if wanted is None else wanted
        lost = [name for name in sorted(wanted) if not len(getattr(sequence, FIELDS[name]))]
        if lost:
            raise InputError(f"{entry.name}: its {', '.join(lost)} were there when it was scanned")
        return chosen(sequence, frames, wanted)

    def stamp(self, index: int) -> str:
        """See `SequenceStore.stamp`: the files' names, sizes and times."""
        files = sorted(self._folders[index].iterdir())
        return str([(f.name, f.stat().st_size, f.stat().st_mtime_ns) for f in files])

    def _look(self, folder: Path) -> tuple[Entry, frozenset[str], tuple[str, ...]] | str:
        """Return a sequence's entry, what it has and notes, or why it cannot be used."""
        try:
            sequence = self._read(folder)
        except InputError as error:
            return error.message
        except OSError as error:
            return error.strerror or str(error)
        has = {"silhouettes"}
        has |= {"theta"} if len(sequence.theta) else set()
        has |= {"keypoints"} if len(sequence.keypoints_px) else set()
        subject, kind, view = folder.parts[-len(LEVELS) :]
        frames = len(sequence.silhouettes)
        return Entry(subject, kind, view, frames), frozenset(has), sequence.notes

    def _read(self, folder: Path) -> SilhouetteSequence:
        return read_sequence(folder, folder.name, (self.height, self._width), MAX_STORED_FRAMES)


def chosen(
    clip: SilhouetteSequence | StoredClip, frames: np.ndarray | None, wanted: frozenset[str]
) -> StoredClip:
    """Return frames of a clip, with empty arrays for what is not wanted."""
    rows = slice(None) if frames is None else frames
    nothing = slice(0, 0)
    return StoredClip(
        silhouettes=clip.silhouettes[rows if "silhouettes" in wanted else nothing],
        theta=clip.theta[rows if "theta" in wanted else nothing],
        keypoints_px=clip.keypoints_px[rows if "keypoints" in wanted else nothing],
    )


def _in_layout(root: Path, subjects: Collection[str] | None) -> tuple[list[Path], list[Skipped]]:
    """Return the sequences' folders, and those that lie elsewhere than the layout says."""
    folders, skipped = [], []
    for folder in find_sequences(root):
        parts = folder.relative_to(root).parts
        if len(parts) != len(LEVELS):
            reason = f"lies at depth {len(parts)}, expected {'/'.join(LEVELS)} below {root.name}"
            skipped.append(Skipped("/".join(parts) or root.name, reason))
        elif not "".join(parts).isprintable():
            name = "/".join(ascii(part)[1:-1] for part in parts)
            skipped.append(Skipped(name, "its name is no readable text"))
        elif subjects is None or parts[0] in subjects:
            folders.append(folder)
    if not folders:
        hint = f"Expected {root.name}/{'/'.join(LEVELS)}/ with one sequence in each."
        if skipped:
            reasons = "".join(f"\n  {one.name} {one.reason}" for one in skipped[:3])
            raise InputError(f"none of {len(skipped)} folders can be used{reasons}", hint=hint)
        raise InputError(f"{root} holds no sequence of the wanted subjects", hint=hint)
    return folders, skipped


def _say_incomplete(found: Sequence[tuple[str, frozenset[str]]]) -> None:
    """Say in the log which sequences lack what others have: it cannot be used at all."""
    for kind in ("theta", "keypoints"):
        without = [name for name, has in found if kind not in has]
        if 0 < len(without) < len(found):
            more = f" and {len(without) - NAMED} more" if len(without) > NAMED else ""
            log.warning(
                "%s cannot be used: %d of %d sequences have none: %s%s",
                *(kind, len(without), len(found), ", ".join(without[:NAMED]), more),
            )


def _first_height(folders: Sequence[Path]) -> int:
    """Return the height of the first silhouettes that can be read."""
    for folder in folders:
        try:
            return stored_height(folder)
        except (InputError, OSError):
            continue
    return SIDES[0]
