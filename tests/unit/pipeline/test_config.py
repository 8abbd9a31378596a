"""Configuration: files, options and --set, and the words for what is wrong with them."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import BaseModel, Field, field_validator

from pipeline.config import load_config, load_model
from pipeline.errors import ConfigError

CONFIGS = Path(__file__).resolve().parents[3] / "configs"


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


# train_*.yaml and synth.yaml are of other models: tests/unit/embed/test_train_config.py and
# tests/unit/pipeline/test_synth_command.py.
PIPELINE_CONFIGS = [
    path for path in CONFIGS.glob("*.yaml") if not path.stem.startswith(("train_", "synth"))
]


@pytest.mark.parametrize("path", sorted(PIPELINE_CONFIGS), ids=lambda path: path.stem)
def test_every_shipped_file_is_valid(path: Path) -> None:
    load_config(path)


def test_shipped_replay_file_says_the_defaults() -> None:
    assert load_config(CONFIGS / "replay.yaml").to_dict() == load_config(None).to_dict()


def test_later_sources_of_values_win(tmp_path: Path) -> None:
    path = write(tmp_path / "a.yaml", "sequence:\n  stride: 4\n  length: 20\n")
    config = load_config(path, {"sequence.stride": 5}, ["sequence.length=16", "detect.threads=1"])
    assert config.stages["sequence"].stride == 5
    assert config.stages["sequence"].length == 16
    assert config.stages["detect"].threads == 1


def test_exception_names_line_key_value_and_what_is_allowed(tmp_path: Path) -> None:
    path = write(tmp_path / "a.yaml", "run:\n  placement: processes\nsequence:\n  stride: -3\n")
    with pytest.raises(ConfigError, match=r"a\.yaml, line 4: sequence\.stride = -3: .*greater"):
        load_config(path)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("sequense:\n  stride: 3\n", r"line 1: unknown block 'sequense'\n.*'sequence'"),
        ("sequence:\n  strid: 3\n", r"line 2: sequence\.strid = 3: unknown key; .*'stride'"),
        ("detect:\n  min_hight_px: 3\n", r"line 2: detect\.min_hight_px = 3: unknown key"),
        ("detect:\n  variant: magic\n", r"detect = .*magic"),
        ("sequence: 7\n", "must be a block"),
        ("- 1\n", "must hold blocks"),
        ("a: [1\n", "is not YAML"),
        ("run:\n  placement: everywhere\n", r"line 2: run\.placement = 'everywhere': .*threads"),
    ],
)
def test_exception_wrong_files(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        load_config(write(tmp_path / "a.yaml", text))


def test_exception_a_list_is_not_blamed_for_its_parts() -> None:
    class Step(BaseModel):
        rate: int = Field(ge=1)

    class Plan(BaseModel):
        steps: tuple[Step, ...] = Field(min_length=1)

        @field_validator("steps")
        @classmethod
        def _few(cls, value: tuple[Step, ...]) -> tuple[Step, ...]:
            if len(value) > 1:
                raise ValueError("one at most")
            return value

    with pytest.raises(ConfigError) as caught:
        load_model(None, Plan, {"steps": [{"rate": 0}]})
    assert caught.value.message.startswith("steps.0.rate = 0: ")
    assert "\n" not in caught.value.message
    with pytest.raises(ConfigError, match=": one at most"):
        load_model(None, Plan, {"steps": [{"rate": 1}, {"rate": 2}]})


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("sequence.stride", "key=value"),
        ("sequence.stride=[", "not YAML"),
        ("sequence.stride.x.y=1", r"sequence\.stride"),
        ("nothing.here=1", "unknown block"),
    ],
)
def test_exception_wrong_settings(setting: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        load_config(None, {}, [setting])


def test_exception_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        load_config(tmp_path / "none.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"a: \xff\n")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load_config(tmp_path / "latin.yaml")


def test_resolved_configuration_is_complete_and_plain() -> None:
    resolved = load_config(None).to_dict()
    assert set(resolved) == {
        "run", "source", "detect", "body", "sequence", "embed", "identify", "sink",
    }  # fmt: skip
    assert resolved["detect"]["variant"] == "mediapipe"
