"""Whether a training may go on from a checkpoint with the configuration that it is given now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from pipeline.errors import ConfigError
from stages.embed.training.config import TrainConfig

SHOWN = 10
# What does not change the numbers, by the beginning of the key; `init` was read long ago.
ASIDE = (
    "init",
    "evaluation",
    "checkpoints",
    "log_every",
    "pictures_every",
    "workers",
    "threads",
    "device",
)
HARMLESS = (
    *ASIDE,
    # Compared by what they hold, not by where they lie.
    "data.path",
    "data.partition",
    # Compared by what they came to, since `auto` and its outcome are one and the same.
    "precision",
    "memory_format",
)


def check_same_course(stored: Mapping[str, Any], config: TrainConfig, step: int) -> None:
    """Check that going on gives what the checkpoint's own configuration would have given.

    The last phase may be longer or shorter, unless its rate depends on its length.

    Args:
        stored: the checkpoint's configuration as plain data. step: how many steps were done.

    Raises:
        ConfigError: naming every value that differs.
    """
    harmless = list(HARMLESS)
    if config.phases[-1].schedule.kind == "milestones":
        harmless.append(f"phases.{len(config.phases) - 1}.steps")
    differing = [
        f"{key}: {before!r} in the checkpoint, {now!r} now"
        for key, before, now in differences(_with_defaults(stored), config.to_dict(), harmless)
    ]
    if differing:
        more = f"\n  and {len(differing) - SHOWN} more" if len(differing) > SHOWN else ""
        raise ConfigError(
            "the run cannot go on with another configuration:\n  "
            + "\n  ".join(differing[:SHOWN])
            + more,
            hint="Take the run's own config.yaml (leave --config out), or begin in another folder.",
        )
    total = sum(phase.steps for phase in config.phases)
    if step > total:
        raise ConfigError(
            f"{step} steps are done, the phases now have {total}",
            hint="Take the run's own config.yaml, or more steps.",
        )


def differences(
    before: Mapping[str, Any], now: Mapping[str, Any], harmless: Sequence[str]
) -> list[tuple[str, Any, Any]]:
    """Return key, value before and value now wherever two configurations differ.

    Args:
        harmless: what may differ, by the beginning of the key.
    """
    one, other = flatten(before), flatten(now)
    return [
        (key, one.get(key), other.get(key))
        for key in sorted(one.keys() | other.keys())
        if one.get(key) != other.get(key) and not _begins(key, harmless)
    ]


def _with_defaults(stored: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a checkpoint's configuration with what later versions added, which does nothing."""
    try:
        return TrainConfig.model_validate(dict(stored)).to_dict()
    except ValidationError:  # it has keys that are gone: the comparison names them
        return stored


def check_same_data(stored: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
    """Check that the training sequences are those of the checkpoint; ConfigError if not."""
    if stored.get("fingerprint") != facts["fingerprint"]:
        counts = "training_subjects", "training_sequences", "training_frames"
        then, now = (
            ", ".join(f"{which.get(key)} {key.partition('_')[2]}" for key in counts)
            for which in (stored, facts)
        )
        raise ConfigError(
            f"the training data differ from the checkpoint's: {then} then, {now} now",
            hint="Give the same data and partition, or begin in another folder.",
        )


def flatten(tree: Any, prefix: str = "") -> dict[str, Any]:
    """Return the leaves of nested mappings and lists, keys with dots."""
    if isinstance(tree, Mapping):
        items = [(str(key), value) for key, value in tree.items()]
    elif isinstance(tree, list):
        items = [(str(place), value) for place, value in enumerate(tree)]
    else:
        return {prefix: tree}
    leaves: dict[str, Any] = {}
    for key, value in items:
        leaves |= flatten(value, f"{prefix}.{key}" if prefix else key)
    return leaves


def _begins(key: str, names: Sequence[str]) -> bool:
    return any(key == name or key.startswith((f"{name}.", f"{name}_")) for name in names)
