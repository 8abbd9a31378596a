"""Writes docs/configuration.md from the config models; a test looks whether it has gone stale."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from pipeline.config import stage_models, variants_of

TARGET = Path(__file__).resolve().parents[1] / "docs" / "configuration.md"
HEAD = """# Configuration

Written by `python scripts/write_config_reference.py`; do not edit.

Values come, later ones winning, from the defaults below, `--config FILE` (YAML, see `configs/`), a
command's own options, and `--set key=value`. `demo`, `replay`, `live`, `enroll` and `calibrate`
take `--check-config`, which prints the whole resolved configuration and stops; so do `train` and
`synth`, whose keys are other ones.
"""


def reference() -> str:
    """Return the page as Markdown."""
    sections = [HEAD]
    for name, model in stage_models().items():
        for each in variants_of(model) or (model,):
            variant = each.model_fields.get("variant")
            word = f", `variant: {variant.annotation.__args__[0]}`" if variant else ""
            sections.append(f"## {name}{word}\n\n{_first_line(each)}\n")
            sections.append("| key | default | meaning |\n|---|---|---|\n" + _rows(each, name))
    return "\n".join(sections)


def _first_line(model: type[BaseModel]) -> str:
    return (model.__doc__ or "").strip().splitlines()[0]


def _rows(model: type[BaseModel], prefix: str) -> str:
    rows = []
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            rows.append(_rows(kind, f"{prefix}.{name}"))
            continue
        description = (field.description or "").replace("|", "\\|")
        limits = _limits(field.metadata)
        meaning = f"{description}{f' ({limits})' if limits else ''}"
        rows.append(f"| `{prefix}.{name}` | {_default(field)} | {meaning} |\n")
    return "".join(rows)


def _default(field: Any) -> str:
    if field.default is PydanticUndefined:
        return "required"
    return "none" if field.default is None else f"`{field.default}`"


def _limits(metadata: list[Any]) -> str:
    words = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<", "multiple_of": "multiple of"}
    found = [
        f"{word} {getattr(limit, key):g}"
        for limit in metadata
        for key, word in words.items()
        if isinstance(getattr(limit, key, None), int | float)
    ]
    return ", ".join(found)


if __name__ == "__main__":
    TARGET.write_text(reference(), encoding="utf-8")
    print(f"wrote {TARGET}")
