"""One run of `synth`: whose the place is, what is missing, who makes it, and what goes with it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from pipeline.cli.synthesis.collecting import Collection
from pipeline.cli.synthesis.config import SynthConfig
from pipeline.cli.synthesis.crew import Crew, Worker, hint_for
from pipeline.cli.synthesis.manifest import fingerprint, manifest_of
from pipeline.cli.synthesis.mocap import Clips
from pipeline.cli.synthesis.places import Claim, Places
from pipeline.errors import ResourceError
from stages.human.walkers.gaits import Population, save_populations

# What is left free beyond what is needed.
SPARE_BYTES = 64 << 20

Progress = Callable[[int, int, int], None]
"""Frames made by this run, of how many, and frames an earlier run had made."""


class Product(Protocol):
    """A kind of set: what its parts are, what makes them, and what goes with them.

    Attributes:
        parts: numbers of the parts. frames: of each.
    """

    @property
    def parts(self) -> range: ...

    @property
    def frames(self) -> int: ...

    def name_of(self, number: int) -> str:
        """Return what to call a part in errors."""
        ...

    def needed_bytes(self, parts: int) -> int:
        """Return about what so many parts take on the disk."""
        ...

    def collection(self, source: str) -> Collection:
        """Return the set as it grows; `source` is a text that another set would not have."""
        ...

    def worker(self, gaits: Path | None) -> tuple[Callable[..., Worker], Sequence[Any]]:
        """Return what makes a process a worker, and its arguments."""
        ...

    def write_sides(self, gaits: Path | None) -> None:
        """Write the files that go with a whole set."""
        ...


@dataclass(frozen=True, slots=True)
class Order:
    """What to make, where, and by how many processes."""

    config: SynthConfig
    places: Places
    workers: int
    overwrite: bool


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of it: frames of the set, and frames of this run."""

    frames: int
    made: int


def make_set(order: Order, product: Product, clips: Clips | None, progress: Progress) -> Outcome:
    """Make a set, or what an earlier run left of it.

    Args:
        clips: whose motion the gaits are drawn from; None takes the shipped population.

    Raises:
        GaitError: the place is taken, the disk too small or full, or a process failed.
    """
    manifest = manifest_of(order.config, clips.digests if clips else None)
    made = 0
    try:
        with Claim(order.places, manifest, overwrite=order.overwrite) as claim:
            if not claim.is_finished:
                gaits = _saved_gaits(order, clips)
                with product.collection(fingerprint(manifest)) as collection:
                    made = _make(order, product, collection, gaits, progress)
                    collection.finish()
                product.write_sides(gaits)
                claim.finish()
    except OSError as error:
        raise ResourceError(
            f"cannot write {error.filename or order.places.out}: {error.strerror or error}",
            hint=hint_for(error),
        ) from error
    return Outcome(len(product.parts) * product.frames, made)


def _make(
    order: Order, product: Product, collection: Collection, gaits: Path | None, progress: Progress
) -> int:
    """Make what is missing; return how many frames that was."""
    missing = collection.missing()
    _check_room(order.places, product.needed_bytes(len(missing)))
    total = len(missing) * product.frames
    before = (len(product.parts) - len(missing)) * product.frames
    progress(0, total, before)
    if missing:
        engage, arguments = product.worker(gaits)
        workers = min(order.workers, len(missing))
        with Crew(engage, arguments, workers, product.name_of) as crew:
            for number in crew.made(missing, lambda frames: progress(frames, total, before)):
                collection.collect(number)
    return total


def _check_room(places: Places, needed: int) -> None:
    """Raise ResourceError if the disk cannot hold so much more."""
    free = shutil.disk_usage(places.parts).free
    if needed + SPARE_BYTES > free:
        raise ResourceError(
            f"{places.out} needs {needed / 1e6:,.0f} MB more and {SPARE_BYTES / 1e6:,.0f} MB to "
            f"spare, and {free / 1e6:,.0f} MB are free",
            hint="Make room, choose another disk, or ask for fewer people, views or frames.",
        )


def _saved_gaits(order: Order, clips: Clips | None) -> Path | None:
    """Put a population of the user's own where all processes read it."""
    if clips is None:
        return None
    path = order.places.gaits
    populations: dict[str, Population] = {order.config.split: clips.population()}
    save_populations(path, populations, "the user's own motion clips")
    return path
