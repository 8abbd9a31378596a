"""Configuration: one YAML file per use, checked before anything starts.

Each stage's block mirrors that stage's own config model; the block `run` is ours. Values come,
later ones winning, from the models' defaults, the file, the command's own options and
`--set key=value`. An error names the file's line, the key, the value and what is allowed.
"""

from __future__ import annotations

import difflib
import importlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, cast, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, field_validator

from pipeline.credentials import public
from pipeline.errors import ConfigError
from pipeline.graph import STAGES

Placement = Literal["processes", "threads"]
Model = TypeVar("Model", bound=BaseModel)


class RunConfig(BaseModel):
    """How the run itself is set up."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    placement: Placement = Field(
        "processes",
        description="a process per stage (a crash stays where it is, all cores are used), or all "
        "stages as threads of one process (less memory, for small machines)",
    )
    frame_store_mb: int = Field(
        384, ge=16, le=65_536, description="memory for frames under way, MB; at least 4 frames fit"
    )
    max_frames: int = Field(
        24, ge=4, le=1024, description="frames that may be under way at once, frames"
    )
    detect_queue: int = Field(
        6, ge=1, le=64, description="recorded video: frames read ahead of detection, frames"
    )
    start_timeout_s: float = Field(
        90.0, gt=0, le=3600, description="time the stages have to load, seconds"
    )
    hang_s: float = Field(
        30.0,
        ge=1,
        le=3600,
        description="a stage that is silent for so long, at work on one message, is killed and "
        "started again, seconds",
    )
    spare: bool = Field(
        True,
        description="keep a process with all libraries loaded, so that a stage that died is "
        "replaced at once and not after the seconds that loading takes",
    )
    stop_timeout_s: float = Field(
        1.0, ge=0, le=600, description="time to drain after Ctrl-C before it is cut short, seconds"
    )
    metrics_port: int | None = Field(
        None,
        ge=0,
        le=65_535,
        description="port of this machine that answers /metrics (Prometheus), /live and /ready, "
        "0: any free one (docs/metrics.md)",
    )
    otlp_endpoint: str | None = Field(
        None,
        description="base address that gets metrics and traces by OTLP over HTTP, such as "
        "http://localhost:4318 (extra `otel`); default: the variable OTEL_EXPORTER_OTLP_ENDPOINT",
    )

    @field_validator("otlp_endpoint")
    @classmethod
    def _web_address(cls, value: str | None) -> str | None:
        # What stands here is written to every summary: keys go another way.
        if value is not None and not re.fullmatch(r"https?://[^\s/@]+(/[^\s@]*)?", value):
            raise ValueError(
                "must be an http:// or https:// address without user and password, such as "
                "http://localhost:4318; the variable OTEL_EXPORTER_OTLP_HEADERS carries keys"
            )
        return value


@dataclass(frozen=True, slots=True)
class PipelineConfig:
    """A checked configuration.

    Attributes:
        run: our own block.
        stages: each stage's block as its own model.
    """

    run: RunConfig
    stages: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON-safe data, defaults included, addresses without credentials.

        It is for people and files; a stage gets its block from the model itself.
        """
        blocks = {"run": self.run.model_dump(mode="json")}
        blocks |= {
            name: stage.model_dump(mode="json", warnings=False)
            for name, stage in self.stages.items()
        }
        return cast(dict[str, Any], public(blocks))


def load_config(
    path: Path | None,
    options: Mapping[str, Any] | None = None,
    settings: Sequence[str] = (),
) -> PipelineConfig:
    """Read, merge and check a configuration.

    Args:
        path: YAML file, or None for defaults alone.
        options: what the command's own options say, keys with dots (`sink.out_dir`).
        settings: `key=value` texts from `--set`; values are YAML.

    Raises:
        ConfigError: naming line, key, value and what is allowed.
    """
    blocks, lines = _merged(path, options or {}, settings, "sequence.stride=4")
    models = stage_models()
    _refuse_unknown_blocks(blocks, models, path, lines)
    checked = {
        name: _check_block(name, model, blocks.get(name) or {}, path, lines)
        for name, model in models.items()
    }
    return PipelineConfig(checked.pop("run"), checked)


def load_model(
    path: Path | None,
    model: type[Model],
    options: Mapping[str, Any] | None = None,
    settings: Sequence[str] = (),
    *,
    hint: str = "",
) -> Model:
    """Read, merge and check a configuration that is one model, such as a training's.

    Args:
        path, options, settings: see `load_config`; a number in a key is a place in a list, as in
            `phases.0.steps`.
        hint: where the keys are explained.

    Raises:
        ConfigError: naming line, key, value and what is allowed.
    """
    values, lines = _merged(path, options or {}, settings, "seed=7")
    try:
        return model.model_validate(values)
    except ValidationError as error:
        problems = [_explain("", model, problem, path, lines) for problem in _innermost(error)]
        raise ConfigError("\n  ".join(problems), hint=hint) from error


def stage_models() -> dict[str, Any]:
    """Return the model of every block, in the order of the graph."""
    stages = {spec.name: importlib.import_module(spec.module).Config for spec in STAGES}
    return {"run": RunConfig} | stages


def _merged(
    path: Path | None, options: Mapping[str, Any], settings: Sequence[str], example: str
) -> tuple[dict[str, Any], dict[str, int]]:
    """Return what file, options and settings say together, and the file's line of each key."""
    values, lines = _read_yaml(path) if path is not None else ({}, {})
    for key, value in options.items():
        _put(values, key, value)
    for text in settings:
        key, separator, value = text.partition("=")
        if not separator or not key.strip():
            raise ConfigError(
                f"--set takes key=value, got {text!r}", hint=f"for example --set {example}"
            )
        _put(values, key.strip(), _parse_value(text, value))
    return values, lines


def _read_yaml(path: Path) -> tuple[dict[str, Any], dict[str, int]]:
    """Return the file's blocks and the line of each key, keys with dots."""
    try:
        text = path.read_text(encoding="utf-8")
        tree = yaml.compose(text, Loader=yaml.SafeLoader)
        blocks = yaml.safe_load(text)
    except OSError as error:
        raise ConfigError(f"cannot read the configuration {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 text: {error}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not YAML: {error}") from error
    if blocks is None:
        return {}, {}
    if not isinstance(blocks, dict):
        raise ConfigError(f"{path} must hold blocks such as 'detect:', got {type(blocks).__name__}")
    lines: dict[str, int] = {}
    _note_lines(tree, "", lines)
    return blocks, lines


def _note_lines(node: yaml.Node | None, prefix: str, lines: dict[str, int]) -> None:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            name = f"{prefix}{key.value}"
            lines[name] = key.start_mark.line + 1
            _note_lines(value, f"{name}.", lines)
    elif isinstance(node, yaml.SequenceNode):
        for place, value in enumerate(node.value):
            lines[f"{prefix}{place}"] = value.start_mark.line + 1
            _note_lines(value, f"{prefix}{place}.", lines)


def _parse_value(text: str, value: str) -> Any:
    try:
        return yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {text}: the value is not YAML: {error}") from error


def _put(blocks: dict[str, Any], key: str, value: Any) -> None:
    *parents, last = key.split(".")
    place: Any = blocks
    for parent in parents:
        if isinstance(place, list):
            place = place[_index(key, parent, place)]
        else:
            if place.get(parent) is None:
                place[parent] = {}
            place = place[parent]
        if not isinstance(place, dict | list):
            raise ConfigError(f"{key}: {parent} is a value, not a block")
    place[_index(key, last, place) if isinstance(place, list) else last] = value


def _index(key: str, part: str, place: list[Any]) -> int:
    if not part.isdecimal() or int(part) >= len(place):
        raise ConfigError(f"{key}: {part!r} is no place in a list of {len(place)}, from 0")
    return int(part)


def _refuse_unknown_blocks(
    blocks: Mapping[str, Any],
    models: Mapping[str, Any],
    path: Path | None,
    lines: Mapping[str, int],
) -> None:
    for name in blocks:
        if name not in models:
            near = difflib.get_close_matches(str(name), models, 1)
            raise ConfigError(
                f"{_place(path, lines, str(name))}unknown block {name!r}",
                hint=f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(models)}",
            )


def _check_block(
    name: str, model: Any, block: Any, path: Path | None, lines: Mapping[str, int]
) -> Any:
    if not isinstance(block, dict):
        raise ConfigError(
            f"{_place(path, lines, name)}{name} must be a block of keys, got {block!r}"
        )
    try:
        return TypeAdapter(model).validate_python(_with_variant(model, block))
    except ValidationError as error:
        problems = [_explain(name, model, problem, path, lines) for problem in _innermost(error)]
        raise ConfigError("\n  ".join(problems), hint="see docs/configuration.md") from error


def _with_variant(model: Any, block: dict[str, Any]) -> dict[str, Any]:
    """The first variant of a union is the default; a block need not name it."""
    members = variants_of(model)
    if not members or "variant" in block:
        return block
    return {"variant": members[0].model_fields["variant"].default} | block


def variants_of(model: Any) -> tuple[Any, ...]:
    """Return the models of `Annotated[A | B, Field(discriminator="variant")]`, else nothing."""
    if get_origin(model) is not Annotated:
        return ()
    return get_args(get_args(model)[0])


def _innermost(error: ValidationError) -> list[Any]:
    """The problems, without those of a list whose own parts are the trouble."""
    problems = error.errors()
    return [
        one
        for one in problems
        if not any(
            len(other["loc"]) > len(one["loc"]) and other["loc"][: len(one["loc"])] == one["loc"]
            for other in problems
        )
    ]


def _explain(
    name: str,
    model: Any,
    problem: Mapping[str, Any],
    path: Path | None,
    lines: Mapping[str, int],
) -> str:
    parts = [str(part) for part in problem["loc"]]
    fields = [field for each in variants_of(model) or (model,) for field in _fields_at(each, parts)]
    if variants_of(model):
        parts = parts[1:]  # a union puts the variant's word first, which the file does not have
    if not name:  # the model is the whole file
        name, *parts = parts or ["configuration"]
    key = ".".join([name, *parts])
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "extra_forbidden":
        near = difflib.get_close_matches(key.rpartition(".")[2], fields, 1)
        message = "unknown key" + (f"; did you mean {near[0]!r}?" if near else "")
    # What is wrong with a block as a whole is not made clearer by all its values.
    whole = problem["type"] in ("missing", "value_error") and not _is_value(problem["input"])
    value = "" if whole else f" = {problem['input']!r}"
    block = key.rpartition(".")[0]  # what is missing has no line of its own
    where = _place(path, lines, key) or _place(path, lines, block)
    return f"{where}{key}{value}: {message}"


def _is_value(given: Any) -> bool:
    return not isinstance(given, Mapping | BaseModel)


def _fields_at(model: Any, parts: Sequence[str]) -> list[str]:
    """Return the fields of the model in which the last of `parts` lies."""
    for part in parts[:-1]:
        field = model.model_fields.get(part)
        if field is not None:
            # Through lists, tuples and None to the model within.
            inner = _models_in(field.annotation)
            model = inner[0] if len(inner) == 1 else model
    return list(model.model_fields)


def _models_in(annotation: Any) -> list[Any]:
    arguments = get_args(annotation)
    if arguments:
        return [model for argument in arguments for model in _models_in(argument)]
    return (
        [annotation] if isinstance(annotation, type) and issubclass(annotation, BaseModel) else []
    )


def _place(path: Path | None, lines: Mapping[str, int], key: str) -> str:
    return f"{path}, line {lines[key]}: " if path is not None and key in lines else ""
