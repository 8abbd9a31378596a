"""What colours somebody has and wears: skin, hair and clothes, and how far the clothes reach.

Colours are linear light [3] float32. Clothes come in the colours that streets show: mostly dark
blues, greys, blacks and browns, now and then a bright one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from stages.human.rasteriser import from_srgb
from stages.human.scenes.fabrics import WEAVES, Fabric, Weave, draw_fabric
from stages.human.walkers.people import Person
from stages.human.walkers.wardrobe import Outfit

Colour = NDArray[np.float32]

LOOK_STREAM = 211
HATS = ("cap", "beanie", "brim", "hood")
# From light to dark, evenly frequent.
SKINS = ("#f1cdb5", "#e8b998", "#dba584", "#c98f6b", "#b07a55", "#8d5a3c", "#6b4029", "#4c2c1e")
HAIRS = ("#1b1412", "#2a1b14", "#3b2718", "#56371f", "#7d5430", "#b08a52", "#8a8580", "#c9c4bc")
QUIET = ("#23252b", "#2b3147", "#3a3d42", "#4a4f57", "#6c7178", "#4b4038", "#6f6a4c", "#5b4636",
         "#34404f", "#1d2b3a", "#8b8f94", "#3c4a3e", "#7a6a58")  # fmt: skip
LIGHT = ("#e6e3dc", "#cfd6dc", "#d8c9ae", "#b9c4b4", "#c8b8c4", "#f0efec")
BRIGHT = ("#a8342c", "#c8963c", "#1f8a84", "#3f86c6", "#7a2f3c", "#5a3f7a", "#2f6b3f", "#d0642c",
          "#c8506e", "#e0b44a")  # fmt: skip
JEANS = ("#2b3a55", "#3b5070", "#54708f", "#22283a", "#7d93a8")
SHOES = ("#22201f", "#3a2a26", "#4b4038", "#e4e2de", "#6b6f75", "#7a3b2e")
UPPER_WEAVES = (0.3, 0.14, 0.04, 0.1, 0.06, 0.02, 0.14, 0.06, 0.14)
LOWER_WEAVES = (0.5, 0.0, 0.06, 0.03, 0.0, 0.31, 0.0, 0.0, 0.1)


@dataclass(frozen=True, eq=False)
class Look:
    """Colours of somebody on one walk, and how far clothes reach.

    Attributes:
        skin, hair, upper, lower, shoes, drape, thing, hat: colours; `thing` is what is carried.
        upper_fabric, lower_fabric: patterns.
        sleeve: share of the arm covered, 0 shoulder, 1 elbow, 2 wrist.
        leg: share of the leg covered, 0 hip, 1 knee, 2 ankle.
        hem_m: where the upper ends, above the hip joint; collar_m: above the neck joint; shoe_m:
            above the ankle.
        hat_kind: "" without one, or cap, beanie, brim, hood.
        logo: colour of a print on chest and back, or None.
    """

    skin: Colour
    hair: Colour
    upper: Colour
    lower: Colour
    shoes: Colour
    drape: Colour
    thing: Colour
    hat: Colour
    upper_fabric: Fabric
    lower_fabric: Fabric
    sleeve: float
    leg: float
    hem_m: float
    collar_m: float
    shoe_m: float
    hat_kind: str
    logo: Colour | None


def draw_look(person: Person, outfit: Outfit, rng: np.random.Generator) -> Look:
    """Colours for an outfit. Skin and hair belong to the person, the rest is drawn anew."""
    own = np.random.default_rng((person.seed, LOOK_STREAM, person.number))
    skin, hair = _pick(own, SKINS), _pick(own, HAIRS)
    upper, lower = _cloth(rng), _cloth(rng)
    lower_weave = _weave(rng, LOWER_WEAVES)
    if lower_weave == "denim":
        lower = _pick(rng, JEANS)
    is_coat = outfit.drape is not None and outfit.drape.kind == "coat"
    is_heavy = outfit.dress == "cl"
    is_skirt = outfit.drape is not None and not is_coat
    shorts = not is_heavy and rng.random() < 0.1
    bare_legs = is_skirt and rng.random() < 0.6
    has_logo = not is_heavy and rng.random() < 0.25
    return Look(
        skin,
        hair,
        upper,
        lower,
        _pick(rng, SHOES),
        upper if is_coat else _cloth(rng),
        _cloth(rng),
        _cloth(rng),
        draw_fabric(_weave(rng, UPPER_WEAVES), _second(upper, rng), rng),
        draw_fabric(lower_weave, _second(lower, rng), rng),
        2.0 if is_heavy or rng.random() < 0.6 else float(rng.uniform(0.4, 1.1)),
        0.05 if bare_legs else (float(rng.uniform(0.6, 1.1)) if shorts else 2.0),
        float(rng.uniform(-0.04, 0.03)),
        float(rng.uniform(-0.03, 0.04)),
        float(rng.choice((0.0, 0.0, 0.01, 0.08))),
        next((solid.kind for solid in outfit.solids if solid.kind in HATS), ""),
        _pick(rng, LIGHT + BRIGHT) if has_logo else None,
    )


def _weave(rng: np.random.Generator, shares: tuple[float, ...]) -> Weave:
    return cast(Weave, str(rng.choice(WEAVES, p=np.array(shares) / sum(shares))))


def _pick(rng: np.random.Generator, colours: tuple[str, ...]) -> Colour:
    """One of the colours, a little off: nothing in the world has a colour from a list."""
    base = from_srgb(colours[int(rng.integers(len(colours)))])
    return np.asarray(base * np.exp(rng.normal(0, 0.12) + rng.normal(0, 0.06, 3)), np.float32)


def _cloth(rng: np.random.Generator) -> Colour:
    return _pick(rng, (QUIET, LIGHT, BRIGHT)[int(rng.choice(3, p=(0.6, 0.18, 0.22)))])


def _second(first: Colour, rng: np.random.Generator) -> Colour:
    """A pattern's second colour over its first, as factors."""
    return np.asarray(np.clip(_cloth(rng) / np.maximum(first, 0.02), 0.15, 8.0), np.float32)
