"""The folder of a training: what is ours in it, and whether a run may begin or go on there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import GaitError, InputError, OutputExistsError, ResourceError

EVENTS = "events.out.tfevents."


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Where a training of one network writes.

    config.yaml: as resolved. partition.json: who is trained on and who tested. likeness.npz: who is
    like whom, if batches are drawn by it. curve.csv,
    evaluation.csv, training.png: its course. checkpoints/: to go on from. tensorboard/: events.
    failure.json: where it diverged. NETWORK.safetensors: what embeds; NETWORK.full.safetensors:
    with classifiers; NETWORK.md: what people should know of it.
    """

    root: Path
    network: str

    @property
    def config(self) -> Path:
        return self.root / "config.yaml"

    @property
    def partition(self) -> Path:
        return self.root / "partition.json"

    @property
    def curve(self) -> Path:
        return self.root / "curve.csv"

    @property
    def evaluation(self) -> Path:
        return self.root / "evaluation.csv"

    @property
    def picture(self) -> Path:
        return self.root / "training.png"

    @property
    def checkpoints(self) -> Path:
        return self.root / "checkpoints"

    @property
    def board(self) -> Path:
        return self.root / "tensorboard"

    @property
    def failure(self) -> Path:
        return self.root / "failure.json"

    @property
    def likeness(self) -> Path:
        return self.root / "likeness.npz"

    @property
    def weights(self) -> Path:
        return self.root / f"{self.network}.safetensors"

    @property
    def full_weights(self) -> Path:
        return self.root / f"{self.network}.full.safetensors"

    @property
    def card(self) -> Path:
        return self.root / f"{self.network}.md"

    def files(self) -> tuple[Path, ...]:
        """Return every single file that a run writes here."""
        course = (self.curve, self.evaluation, self.picture, self.failure)
        results = (self.weights, self.full_weights, self.card)
        return (self.config, self.partition, self.likeness, *course, *results)

    def check(self, *, resume: bool, overwrite: bool) -> None:
        """Check that a run may begin or go on here; changes nothing.

        Raises:
            OutputExistsError: a run is there and neither was said. InputError: it is a file.
        """
        if self.root.exists() and not self.root.is_dir():
            raise InputError(
                f"output folder {self.root} is a file",
                hint="Give a folder, or a name not yet taken.",
            )
        found = [path for path in (*self.files(), self.checkpoints, self.board) if path.exists()]
        if found and not (resume or overwrite):
            raise OutputExistsError(
                f"output folder {self.root} already holds a training "
                f"({', '.join(path.name for path in found)})",
                hint="Say --resume to go on with it, --overwrite to begin anew, or give another "
                "folder.",
            )

    def prepare(self, *, resume: bool, overwrite: bool) -> None:
        """Make the folder. With `overwrite` a former run's files are removed, and nothing else.

        Raises:
            OutputExistsError: see `check`. InputError, ResourceError: it cannot be made or emptied.
        """
        self.check(resume=resume, overwrite=overwrite)
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            if overwrite:
                self._empty()
        except OSError as error:
            raise cannot_write(self.root, error) from error

    def write_text(self, path: Path, text: str) -> None:
        """Write one of our files, whole or not at all; ResourceError or InputError."""
        part = path.with_name(f".{path.name}.part")
        try:
            part.write_text(text, encoding="utf-8")
            part.replace(path)
        except OSError as error:
            part.unlink(missing_ok=True)
            raise cannot_write(path, error) from error

    def _empty(self) -> None:
        # Not above: checking a folder shall not wait for torch to load.
        from stages.embed.training.checkpoints import remove_checkpoints

        for path in self.files():
            path.unlink(missing_ok=True)
            path.with_name(f".{path.name}.part").unlink(missing_ok=True)
        remove_checkpoints(self.checkpoints)
        if self.board.is_dir():
            for path in self.board.glob(f"{EVENTS}*"):
                path.unlink()
            if not any(self.board.iterdir()):
                self.board.rmdir()


def cannot_write(path: Path, error: OSError) -> GaitError:
    """Return the error to raise when writing `path` failed."""
    kind = InputError if isinstance(error, PermissionError | NotADirectoryError) else ResourceError
    return kind(
        f"cannot write {path}: {error.strerror or error}",
        hint="Free some space, or give another --out. What was written until now is kept.",
    )
