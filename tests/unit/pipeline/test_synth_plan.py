"""What `synth` is asked for, and which sequences that means."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from pipeline.cli.synthesis.config import SynthConfig
from pipeline.cli.synthesis.plan import (
    kinds_of,
    planned_of,
    sequence_rng,
    subject_of,
    views_of,
)


def config(**given: object) -> SynthConfig:
    return SynthConfig.model_validate(given)


def test_smoke_texts_of_the_command_line() -> None:
    asked = config(
        conditions="nm:2, bg, fr07:1", frame_rates_hz="7-30", noise="0.5", elevations_deg=12
    )
    assert asked.conditions == {"nm": 2, "bg": 1, "fr07": 1}
    assert asked.frame_rates_hz == (7, 30)
    assert asked.noise == (0.5, 0.5) and asked.elevations_deg == (12, 12)
    assert config(conditions={"cl": 3}, noise=[0, 2]).noise == (0, 2)


@pytest.mark.parametrize("kind", ["silhouettes", "packed", "video", "coco"])
def test_replay_what_is_printed_reads_back(kind: str) -> None:
    asked = config(kind=kind, seed=3, views=2)
    assert config(**asked.to_dict()) == asked


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("identities", 0, "greater than or equal to 1"),
        ("views", 0, "greater than or equal to 1"),
        ("views", 361, "less than or equal to 360"),
        ("kind", "cartoon", "'silhouettes', 'packed', 'video' or 'coco'"),
        ("conditions", "nm:0", "greater than or equal to 1"),
        ("conditions", "nm:1,nm:2", "named once"),
        ("conditions", "swim:1", "no condition is called 'swim'"),
        ("conditions", "fr00", "no condition is called 'fr00'"),
        ("conditions", "", "at least one condition"),
        ("frame_rates_hz", "30-7", "within 1-120"),
        ("frame_rates_hz", "fast", "number"),
        ("noise", "3", "within 0-2"),
        ("noise", "nan", "within 0-2"),
        ("elevations_deg", "1-2-3", "one number, or LOW-HIGH"),
        ("size", 96, "64 or 128"),
        ("seed", -1, "greater than or equal to 0"),
        ("colour", 1, "Extra inputs"),
    ],
)
def test_exception_what_is_not_allowed(key: str, value: object, told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        config(**{key: value})


def test_exception_form_of_a_packed_set() -> None:
    with pytest.raises(ValidationError, match="form: opengait is for kind: silhouettes"):
        config(kind="packed", form="opengait")


def test_golden_names() -> None:
    asked = config(conditions="nm:2,cl:1", views=8, first=7, identities=2, split="test", seed=3)
    assert kinds_of(asked) == ["nm-01", "nm-02", "cl-01"]
    assert views_of(asked) == ["000", "045", "090", "135", "180", "225", "270", "315"]
    assert [subject_of(asked, n) for n in asked.numbers] == ["test3-00007", "test3-00008"]
    names = [f"{one.kind}/{one.view}" for one in planned_of(asked, 7)]
    assert len(set(names)) == len(names) == 24 and names[8] == "nm-02/000"


def test_golden_conditions_set_the_recipe() -> None:
    asked = config(conditions="nm,bg,cl,oc,fr07", views=4, azimuth_jitter_deg=3, size=128)
    recipes = {one.kind: one.recipe for one in planned_of(asked, 0) if one.view == "090"}
    assert [recipes[f"{c}-01"].dress for c in ("nm", "bg", "cl", "oc", "fr07")] == [
        "nm", "bg", "cl", "nm", "nm"
    ]  # fmt: skip
    assert [name for name, one in recipes.items() if one.occluded] == ["oc-01"]
    assert recipes["fr07-01"].fps == 7 and recipes["nm-01"].fps == 25
    assert all(87 <= one.azimuth_deg <= 93 and one.height == 128 for one in recipes.values())


@given(st.integers(0, 2**32 - 1), st.integers(0, 100), st.integers(1, 16))
def test_property_recipes_lie_within_what_was_asked(seed: int, number: int, views: int) -> None:
    asked = config(
        seed=seed,
        views=views,
        frame_rates_hz="7-30",
        noise="0.5-1.5",
        occluded=0.5,
        day_spread="0-1",
    )
    for one in planned_of(asked, number):
        assert 7 <= one.recipe.fps <= 30 and 0.5 <= one.recipe.noise <= 1.5
        assert 0 <= one.recipe.day_spread <= 1
        off = (one.recipe.azimuth_deg - float(one.view) + 180) % 360 - 180
        assert abs(off) <= 5.5


def test_property_a_sequence_does_not_depend_on_its_company() -> None:
    few = config(conditions="bg:1", views=2, identities=1)
    many = config(conditions="nm:2,bg:2", views=4, identities=9)
    for one in planned_of(few, 0):
        same = next(m for m in planned_of(many, 0) if (m.kind, m.view) == (one.kind, one.view))
        assert one == same
        assert sequence_rng(few, one).random() == sequence_rng(many, same).random()


def test_property_no_two_sequences_draw_the_same() -> None:
    drawn = [
        sequence_rng(asked, one).random()
        for asked in (config(), config(seed=1), config(split="test"))
        for number in (0, 1)
        for one in planned_of(asked, number)
    ]
    assert len(set(np.round(drawn, 12))) == len(drawn)
