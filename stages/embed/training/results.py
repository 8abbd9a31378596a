"""What is left of a training: weights, and a page that says what they are."""

from __future__ import annotations

import copy
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from pipeline import __version__
from stages.embed.checkpoint import save_network
from stages.embed.networks.interface import GaitNetwork
from stages.embed.training.config import Phase, TrainConfig
from stages.embed.training.preparation import Data
from stages.embed.training.run_folder import RunFolder
from stages.embed.training.schedule import total_steps
from stages.embed.training.steps import Stepper

FIGURES = {"rank1": "Rank-1", "mAP": "mAP", "eer": "equal error rate"}
LIMITS = """\
- The figures above are of the data set's own test subjects, by the generic protocol and from the
  first 120 frames of each sequence. `run_pipeline.py evaluate` gives the tables that papers give.
- Other cameras, distances, clothes, crowds and segmenters than the training data's cost accuracy,
  often most of it. Measure on footage of your own before trusting a name.
- Live windows are short: accuracy falls with the number of frames.
- A threshold for unknown people has to be calibrated for these weights; vectors of other weights
  cannot be compared with these.
- Who is missing or rare in the training data may be recognised worse than others.
- Gait is biometric data. Most public gait data are for research only, and weights trained on them
  inherit that: check the data set's licence before any other use.
"""


@dataclass(frozen=True, slots=True)
class Results:
    """What was written.

    Attributes:
        weights: what embeds. full_weights: with classifiers, None if there are none.
        weights_hash: of `weights`.
        figures: rank1, mAP and eer of the last evaluation, 0..1; None where nobody could tell.
    """

    weights: Path
    full_weights: Path | None
    card: Path
    weights_hash: str
    figures: Mapping[str, float | None]


def write_results(
    folder: RunFolder,
    config: TrainConfig,
    data: Data,
    stepper: Stepper,
    network_config: Mapping[str, Any],
    embedding: GaitNetwork,
    figures: Mapping[str, float | None],
) -> Results:
    """Write weights and model card.

    Args:
        network_config: of the network in training.
        embedding: what embeds, without classifiers.

    Raises:
        WeightsError, ResourceError: a number is not finite, or the disk is full.
    """
    weights_hash = save_network(folder.weights, embedding)
    full = folder.full_weights if network_config["class_num"] else None
    if full is not None:
        save_network(full, _whole(stepper))
    results = Results(folder.weights, full, folder.card, weights_hash, figures)
    folder.write_text(
        folder.card, model_card(config, data.facts(), stepper, network_config, results)
    )
    return results


def model_card(
    config: TrainConfig,
    data: Mapping[str, Any],
    stepper: Stepper,
    network_config: Mapping[str, Any],
    results: Results,
) -> str:
    """Return the page as Markdown. It names no path of the machine."""
    c, p = stepper.network.vector_shape
    sampler = config.sampler
    total = total_steps(config.phases)
    figures = "".join(
        f"| {title} | {_percent(results.figures.get(name))} |\n" for name, title in FIGURES.items()
    )
    settings = ", ".join(f"{name} {value}" for name, value in network_config.items())
    start = "random" if config.init is None else f"weights {config.init.name}"
    alike = f", subjects alike by {sampler.alike} sequences of each" if sampler.alike else ""
    tried = config.evaluation.final or config.evaluation.every
    tested = "tested on" if tried else "kept out, not tested on"
    average = "" if config.average_decay is None else f", moving average {config.average_decay}"
    reads = ", ".join(stepper.network.reads)
    return f"""# {config.network.name}, weights {results.weights_hash}

A gait network: it turns a walk into {c} x {p} numbers that are near for one person and far for two.

| | |
|---|---|
| file | `{results.weights.name}` (embedding only) |
| network | {config.network.name}: {settings} |
| reads | {reads} |
| parameters | {sum(q.numel() for q in stepper.network.parameters()):,} in training |

## Data

| | |
|---|---|
| name | {data["name"]} |
| trained on | {data["training_subjects"]} subjects, {data["training_sequences"]} sequences, \
{data["training_frames"]} frames |
| {tested} | {data["test_subjects"]} other subjects, {data["test_sequences"]} sequences |
| silhouettes | {data["height_px"]} pixels high |
| fingerprint | {data["fingerprint"]} (names and lengths of the training sequences) |

## Recipe

{total} steps of {sampler.subjects} subjects x {sampler.sequences} sequences x {sampler.frames} \
{sampler.order} frames{alike}, from {start}, seed {config.seed}, in {stepper.precision}, \
{stepper.memory_format.replace("_", " ")}, \
{stepper.ranks.world} process{"es" if stepper.ranks.world > 1 else ""}{average}.

{"".join(_phase_line(phase) for phase in config.phases)}
Augmentation: {_augmentation(config)}.
Made with gaitstream {__version__}, torch {torch.__version__}, Python {platform.python_version()}.

## Figures

| | |
|---|---|
{figures}
## Limits

{LIMITS}"""


def _whole(stepper: Stepper) -> GaitNetwork:
    """Return the network with its classifiers, with averaged weights if there are any."""
    if stepper.average is None:
        return stepper.network
    network = copy.deepcopy(stepper.network)
    network.load_state_dict(dict(stepper.average.weights()))
    return network


def _phase_line(phase: Phase) -> str:
    optimiser, schedule = phase.optimiser, phase.schedule
    changes = (
        f"times {schedule.gamma} at {', '.join(map(str, schedule.milestones))}"
        if schedule.kind == "milestones" and schedule.milestones
        else "constant"
        if schedule.kind == "milestones"
        else f"cosine to {schedule.final} of it"
    )
    warmup = f", warm-up {schedule.warmup_steps} steps" if schedule.warmup_steps else ""
    losses = []
    if (triplet := phase.losses.triplet) is not None:
        losses.append(f"triplet (margin {triplet.margin}, weight {triplet.weight})")
    if (contrastive := phase.losses.contrastive) is not None:
        whole = f", {contrastive.whole:g} of it over all parts" if contrastive.whole else ""
        losses.append(
            f"contrastive (temperature {contrastive.temperature}, "
            f"weight {contrastive.weight}{whole})"
        )
    if (softmax := phase.losses.softmax) is not None:
        smoothing = f", smoothing {softmax.label_smoothing}" if softmax.label_smoothing else ""
        losses.append(f"softmax (scale {softmax.scale}, weight {softmax.weight}{smoothing})")
    frozen = f"; frozen: {', '.join(phase.frozen)}" if phase.frozen else ""
    return (
        f"- {phase.name}: {phase.steps} steps, {optimiser.kind} {optimiser.lr} ({changes}{warmup})"
        f", momentum {optimiser.momentum}, weight decay {optimiser.weight_decay}; "
        f"{' + '.join(losses)}{frozen}\n"
    )


def _augmentation(config: TrainConfig) -> str:
    told = config.augmentation
    names = ("flip", "erase", "move", "noise", "hide_bodies")
    shares = {name: getattr(told, name) for name in names}
    used = [f"{name} {share:g}" for name, share in shares.items() if share]
    return ", ".join(used) + " (share of the sequences)" if used else "none"


def _percent(share: float | None) -> str:
    return "not measured" if share is None else f"{share:.1%}"
