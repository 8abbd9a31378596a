"""The folder of a run: what is ours in it, and what to say when a file cannot be written."""

from __future__ import annotations

import errno
import hashlib
import re
import shutil
from pathlib import Path
from urllib.parse import quote

from pipeline.errors import GaitError, InputError, OutputExistsError, ResourceError

# Everything a run leaves in its folder; `summary.json` is the runner's.
RUN_FILES = (
    "annotated.mp4",
    "annotated.mp4.part",
    *(f"annotated.{number}.mp4" for number in range(2, 100)),  # segments after a crash
    "events.jsonl",
    "incidents.jsonl",
    "tracks.csv",
    "summary.json",
)
RUN_FOLDERS = ("silhouettes", "thumbnails", "sources")
RUN_ENTRIES = RUN_FILES + RUN_FOLDERS

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOMEM)
_NAME_LIMIT = 120

# Paths below a run's folder that we made; all else in it is the user's and stays.
_OURS_BELOW = re.compile(
    r"(sources/[^/]+/)?("
    r"annotated(\.\d+)?\.mp4(\.part)?"
    r"|thumbnails/\d+\.jpg(\.part)?"
    r"|silhouettes/\d+/(\d{6,}\.png|smpls\.npy|keypoints\.npy|frames\.csv)"
    r")"
)


def prepare_out_dir(path: Path, overwrite: bool) -> None:
    """Make sure that `path` is a folder without a run in it; make it if it is not there.

    With `overwrite` the files of a former run are removed, and nothing else.

    Raises:
        OutputExistsError: a run is there and `overwrite` is false.
        InputError, ResourceError: the folder cannot be made, read or emptied.
    """
    if path.exists() and not path.is_dir():
        raise InputError(
            f"output folder {path} is a file", hint="Give a folder, or a name not yet taken."
        )
    try:
        path.mkdir(parents=True, exist_ok=True)
        found = [name for name in RUN_ENTRIES if _is_there(path / name)]
        if found and not overwrite:
            raise OutputExistsError(
                f"output folder {path} already holds a run ({', '.join(found)})",
                hint="Give another folder, or --overwrite to replace the run that is there.",
            )
        for name in found:
            _remove_ours(path, path / name)
    except OSError as error:
        raise write_failed(path, error) from error


def _is_there(entry: Path) -> bool:
    return entry.is_symlink() or entry.exists()


def _remove_ours(root: Path, entry: Path) -> None:
    """Remove our files at and below `entry`, then the folders that became empty."""
    if not entry.is_dir():
        entry.unlink()
        return
    for child in sorted(entry.iterdir()):
        if child.is_dir() and not child.is_symlink():
            _remove_ours(root, child)
        elif _OURS_BELOW.fullmatch(child.relative_to(root).as_posix()):
            child.unlink()
    if not entry.is_symlink() and not any(entry.iterdir()):
        entry.rmdir()


def folder_name(source_id: str) -> str:
    """Return `source_id` as a safe folder name: other characters as %XX, long ones shortened."""
    name = quote(source_id, safe="", errors="replace")
    if name.strip(".") == "" or name.startswith("."):
        name = "%2E" + name[1:]
    if len(name) > _NAME_LIMIT:
        digest = hashlib.sha256(source_id.encode("utf-8", "replace")).hexdigest()[:16]
        name = f"{name[: _NAME_LIMIT - 17].rstrip('%')}-{digest}"
    return name


def write_failed(path: Path, error: Exception) -> GaitError:
    """Return the error to raise when writing `path` failed with `error` (OSError or PyAV's)."""
    code = getattr(error, "errno", None)
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    free = _free_bytes(path)
    room = "" if free is None else f"; {free:,} bytes are free there"
    if code in _FULL:
        return ResourceError(
            f"cannot write {path}: {reason}{room}",
            hint="Free some space, or write less: --set sink.video=false,"
            " --set sink.save_silhouettes=false, or another --out."
            " What was written until now is kept.",
        )
    return InputError(
        f"cannot write {path}: {reason}{room}",
        hint="Check that the folder exists and may be written to, or give another --out.",
    )


def _free_bytes(path: Path) -> int | None:
    """Return the free bytes of the disk that holds `path`, None if nobody can tell."""
    for folder in (path, *path.parents):
        try:
            return shutil.disk_usage(folder).free
        except OSError:
            continue
    return None
