"""Makes the sequences of one person after another, in whatever process that happens."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pipeline.cli.synthesis.config import SynthConfig
from pipeline.cli.synthesis.plan import (
    OUTFIT_STREAM,
    Planned,
    planned_of,
    sequence_rng,
    stream,
)
from stages.body.landmarks import LandmarksBody
from stages.human.skeleton import load_skeleton
from stages.human.walkers.gaits import Population, load_population
from stages.human.walkers.people import Person, person, shipped_population
from stages.human.walkers.sequences import BodyRows, WalkSequence, make_sequence
from stages.human.walkers.wardrobe import Outfit, draw_outfit


class Maker:
    """Makes people and their sequences by number."""

    def __init__(self, config: SynthConfig, gaits: Path | None = None) -> None:
        """Load bodies and gaits.

        Args:
            gaits: a population's file (stages/human/walkers/gaits.py); None takes the shipped one.

        Raises:
            InputError: a file is missing or damaged.
            ImportError: the extra `synth` is not installed.
        """
        self._config = config
        self._population: Population = (
            shipped_population(config.split)
            if gaits is None
            else load_population(config.split, gaits)
        )
        self._rows: BodyRows | None = (
            LandmarksBody(load_skeleton()).estimate_track if config.theta else None
        )

    def person(self, number: int) -> Person:
        """Return somebody; the same number is the same person."""
        return person(self._config.split, number, self._config.seed, self._population)

    def sequences(self, number: int) -> Iterator[tuple[Planned, WalkSequence]]:
        """Yield the sequences of somebody in the order of the plan."""
        who = self.person(number)
        outfits: dict[str, Outfit] = {}
        for planned in planned_of(self._config, number):
            if self._config.outfits == "walk" and planned.kind not in outfits:
                rng = stream(self._config, number, planned.kind, OUTFIT_STREAM)
                outfits[planned.kind] = draw_outfit(planned.recipe.dress, who, rng)
            yield (
                planned,
                make_sequence(
                    who,
                    planned.recipe,
                    sequence_rng(self._config, planned),
                    self._rows,
                    self._population,
                    outfits.get(planned.kind),
                ),
            )
