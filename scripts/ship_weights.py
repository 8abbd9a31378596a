"""Put a training's weights among those that come with the program, with a model card.

    python scripts/ship_weights.py --run parts configs/train_smplgait_synthetic.yaml \
        train.manifest.json --run joined configs/train_joined_synthetic.yaml train.manifest.json \
        --accuracy docs/accuracy.json --machine TEXT

Each --run is the folder of a `run_pipeline.py train`, the configuration in the repository that it
was made with, and the manifest of its data, which must have been made by `run_pipeline.py synth`:
weights made from other data may not be handed out. Several runs are told in their order, with the
commands that head their configurations. The card says what the weights were made from and how
(from the runs), what they reach (from the evaluation, which must have had these very weights), and
where they end.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # runs from a checkout that is not installed, too

from pipeline.config import load_model  # noqa: E402
from pipeline.errors import GaitError  # noqa: E402
from stages.embed.checkpoint import load_network  # noqa: E402
from stages.embed.evaluation.suite import settings_text  # noqa: E402
from stages.embed.networks.interface import GaitNetwork  # noqa: E402
from stages.embed.networks.joined import NAME as JOINED  # noqa: E402
from stages.embed.shipped import SHIPPED_WEIGHTS  # noqa: E402
from stages.embed.training.config import TrainConfig  # noqa: E402
from stages.embed.training.resuming import ASIDE, differences  # noqa: E402
from stages.embed.weights import network_of  # noqa: E402

IMAGES = ROOT / "docs" / "images"
CURVES = "training-{}.png"
GEI = "gei"
ROWS = {
    "rank1": "Rank-1, mean over pairs of views",
    "front_side": "Rank-1, front against side",
    "front_back": "Rank-1, front against back",
    "eer": "equal error rate",
    "template_rank1": "Rank-1, enrolled from all other views",
    "tpir": "TPIR at a FPIR of 1 %, enrolled from all other views",
}
CONDITIONS = {"nm": "normal walks", "bg": "with a bag", "cl": "in other clothes"}
LIMITS = """\
- Trained on people who do not exist. Synthetic figures say how networks compare, not how often a
  real person is named right: measure at your own place (`run_pipeline.py calibrate --gallery`).
- The walkers descend from a dozen measured people on level ground: no limps, canes, prams, running
  or stairs. Clothes that hide the legs altogether, saris and wheelchairs are unknown here.
- Bodies are those of women and men, and of children from about ten years on, with a body mass index
  of 15 to 36. Smaller children and pregnant women are missing.
- The table by groups shows who is recognised worse. People of a common build are mixed up more.
"""
# What else is to be said of a network.
OWN_LIMITS = {
    "joined": """\
- Bodies come from one camera's picture and say little of how somebody holds themselves. On
  `vtest.avi`, where people are small, its equal error rate is higher with bodies than without
  (docs/accuracy.md): try `--set embed.use_smpl=false` in such places, and calibrate either way.
  Everybody must then be enrolled so, and until there is a calibration names go by a provisional
  score.
- With 7 frames Rank-1 is less than half of what it is with 30.
""",
    "smplgait": """\
- It is the larger part of `joined`, taken out of it. `joined` tells more (docs/networks.md); take
  this one where a network of SMPLGait's own form is wanted.
- Bodies come from one camera's picture and add little to silhouettes: three points of Rank-1.
""",
    "gaitgln": """\
- It reads silhouettes alone, and was trained once, with clothes and errors of segmentation but
  without the later trainings that `joined` had. It is worst at telling front from side.
- Together with silhouettes and bodies it errs in other places: its distances averaged with those of
  `smplgait` are better than either's (docs/accuracy-networks.md).
""",
    "resgcn": """\
- **Do not name people by it.** Of keypoints as MediaPipe finds them in one camera's picture little
  can be told from one side to another: it is hardly better than a silhouette average, and next to
  nobody is named at a false-alarm rate of 1 %. On keypoints without errors it learns well, so it is
  there to be trained further where keypoints are better, and to compare with.
""",
}
LAST_LIMITS = """\
- People of under 60 pixels and heavy occlusion were not measured: expect less.
- Vectors of other weights cannot be compared with these.
- Gait is biometric data: see docs/privacy.md.
"""


@dataclass(frozen=True, slots=True)
class Run:
    """One training.

    Attributes:
        folder: of the training.
        config: the configuration in the repository.
        manifest: what its data were made with.
    """

    folder: Path
    config: Path
    manifest: Mapping[str, Any]


def main() -> None:
    """Copy the weights and write the card."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--run",
        dest="runs",
        action="append",
        nargs=3,
        type=Path,
        required=True,
        metavar=("DIR", "CONFIG", "MANIFEST"),
        help="a training; several in their order",
    )
    parser.add_argument("--accuracy", type=Path, required=True, help="JSON of evaluate --suite")
    parser.add_argument(
        "--weights",
        type=Path,
        help="what `project`, `cohort` or `scripts/halve_weights.py` made of the last run's",
    )
    parser.add_argument(
        "--then",
        action="append",
        default=[],
        metavar="COMMAND",
        help="made them from what the runs' commands make; several in their order",
    )
    parser.add_argument("--machine", required=True, help="where and how long it was trained")
    parser.add_argument("--out", type=Path, default=SHIPPED_WEIGHTS, help="folder to write to")
    parser.add_argument(
        "--images", type=Path, default=IMAGES, help="folder for the picture of the curves"
    )
    args = parser.parse_args()
    try:
        runs = [_run(*paths) for paths in args.runs]
        print(ship(runs, args.weights, args.then, args.accuracy, args.machine, args.out))
        print(draw_curves(runs, args.images))
    except (GaitError, OSError, ValueError) as error:
        sys.exit(f"error: {error}")


def _run(folder: Path, config: Path, manifest: Path) -> Run:
    """Read a run; ValueError if it was made with other settings, or from other people."""
    did, should = (
        load_model(path, TrainConfig, {}, (), hint="").to_dict()
        for path in (folder / "config.yaml", config)
    )
    if other := differences(did, should, ("data", *ASIDE)):
        keys = ", ".join(key for key, _, _ in other)
        raise ValueError(f"{folder} was made with another {keys} than {config} says")
    made = json.loads(manifest.read_text(encoding="utf-8"))
    if made.get("config", {}).get("split") != "train":
        raise ValueError(f"{manifest} is no manifest of synthetic training data")
    return Run(folder, config, made)


def ship(
    runs: Sequence[Run],
    made: Path | None,
    then: Sequence[str],
    accuracy: Path,
    machine: str,
    out: Path,
) -> Path:
    """Write weights and card to `out`; return the card's path.

    Args:
        made: from the last run's weights, None: nothing was.
        then: the commands that made them, after those that head the configurations.

    Raises:
        ValueError: a run is not finished, or the evaluation is of other weights.
    """
    trained = [_weights_of(run.folder) for run in runs]
    names = [network_of(path) for path in trained]
    _, trained_hash = load_network(trained[-1], names[-1])
    weights = made or trained[-1]
    name = network_of(weights)
    network, weights_hash = load_network(weights, name)
    figures = json.loads(accuracy.read_text(encoding="utf-8"))
    ours = [
        label
        for label, each in figures["networks"].items()
        if each.get("weights_hash") == weights_hash
    ]
    if not ours:
        raise ValueError(f"{accuracy} has no network with the weights {weights_hash}")
    cards = [
        (run.folder / f"{each}.md").read_text(encoding="utf-8")
        for run, each in zip(runs, names, strict=True)
    ]
    c, p = network.vector_shape
    head = re.sub(
        r"turns a walk into \d+ x \d+ numbers", f"turns a walk into {c} x {p} numbers", cards[-1]
    ).replace(trained_hash, weights_hash)
    rows = {"network": _described(network), "reads": ", ".join(network.reads)}
    if name != names[-1]:
        head = head.replace(f"# {names[-1]},", f"# {name},").replace(
            f"`{names[-1]}.safetensors`", f"`{name}.safetensors`"
        )
        rows["parameters"] = f"{sum(each.numel() for each in network.parameters()):,}"
    for row, said in rows.items():
        head = re.sub(rf"(?m)^\| {row} \|.*$", f"| {row} | {said} |", head)
    recipes = [
        _recipe(card, *each)
        for card, each in zip(cards, pairwise((*trained, weights)), strict=True)
    ]
    card = card_of(names[-1], head, runs, recipes, then, machine)
    out.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(weights, out / f"{name}.safetensors")
    path = out / f"{name}.md"
    path.write_text(
        f"{card}\n## Figures\n\n{_figures(figures, ours[0], f'docs/{accuracy.stem}.md')}\n"
        f"{_groups(figures, ours[0])}\n## Limits\n\n{LIMITS}"
        f"{OWN_LIMITS.get(name, '')}{LAST_LIMITS}",
        encoding="utf-8",
    )
    return path


def draw_curves(runs: Sequence[Run], images: Path) -> Path:
    """Draw how loss and accuracy within a batch went, one training after the other.

    Returns:
        The picture, named after the network that was trained last: a member that was taken out of
        it has the same.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4), layout="constrained")
    loss, right = figure.subplots(2, 1, sharex=True)
    begin = 0.0
    for place, run in enumerate(runs, 1):
        with (run.folder / "curve.csv").open(encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        steps = [begin + float(row["step"]) for row in rows]
        loss.plot(steps, [float(row["loss"]) for row in rows], linewidth=0.8)
        right.plot(steps, [100 * float(row["nearest_right"]) for row in rows], linewidth=0.8)
        for axes in (loss, right):
            axes.axvline(begin, color="#bbbbbb", linewidth=0.6)
        loss.annotate(
            f" {place}", (begin, 1.0), xycoords=("data", "axes fraction"), va="top", fontsize=8
        )
        begin = steps[-1]
    loss.set_ylabel("loss")
    right.set_ylabel("nearest of a batch right, %", fontsize=8)
    right.set_xlabel("steps, one training after the other; losses and batches of trainings differ")
    images.mkdir(parents=True, exist_ok=True)
    path = images / CURVES.format(network_of(_weights_of(runs[-1].folder)))
    figure.savefig(path, dpi=90)
    return path


def _described(network: GaitNetwork) -> str:
    """A network's name and settings; of a joined one its members' first."""
    config = dict(network.export_config())
    members = config.pop("members", [])
    said = [f"{each['network']} ({_listed(each['config'])})" for each in members]
    return f"{network.name}: {', '.join([*said, _listed(config)])}"


def _listed(config: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in config.items())


def _weights_of(folder: Path) -> Path:
    found = [path for path in folder.glob("*.safetensors") if not path.stem.endswith(".full")]
    if len(found) != 1:
        raise ValueError(
            f"expected one file of weights in {folder}, got {len(found)}: not finished?"
        )
    return found[0]


def _recipe(card: str, trained: Path, following: Path) -> str:
    """What a training's card says of how, and of the step that follows it, if one does.

    Args:
        trained: the training's weights. following: the next training's, or what ships.
    """
    recipe = card.partition("## Figures")[0].partition("## Recipe")[2].strip()
    name, next_name = network_of(trained), network_of(following)
    if name != next_name:
        taken = "Then the member `{}` was taken out (`scripts/halve_weights.py --member`)."
        return f"{recipe}\n\n{taken.format(next_name)}" if name == JOINED else recipe
    before, after = (load_network(path, name)[0].export_config() for path in (trained, following))
    steps = [recipe]
    if before["projection"] != after["projection"]:
        steps.append(
            f"Then the parts were brought together in {after['projection']} numbers, learnt from "
            "the embeddings of the same data (`run_pipeline.py project`)."
        )
    if before.get("cohort", 0) != after.get("cohort", 0):
        steps.append(
            f"Then {after['cohort']} people of the same data were taken for a cohort, by which "
            "the length of an embedding says how crowded its place is (`run_pipeline.py cohort`)."
        )
    return "\n\n".join(steps)


def card_of(
    name: str,
    head: str,
    runs: Sequence[Run],
    recipes: Sequence[str],
    then: Sequence[str],
    machine: str,
) -> str:
    """Return the card up to its figures: the last training's, with our data and all recipes.

    Args:
        name: of the network that was trained last.
    """
    made = head.partition("## Figures")[0].partition("## Recipe")[0]
    settings: dict[str, list[str]] = {}
    for place, run in enumerate(runs, 1):
        settings.setdefault(_settings(run.manifest), []).append(str(place))
    said = [
        (text[0].upper() + text[1:])
        if len(settings) == 1
        else f"Of training {' and '.join(places)}: {text}"
        for text, places in settings.items()
    ]
    commands = [
        line[1:].removeprefix("   ")
        for run in runs
        for line in run.config.read_text(encoding="utf-8").splitlines()
        if line.startswith("#   ")
    ]
    many = len(recipes) > 1
    return "\n".join(
        [
            made.rstrip(),
            "",
            "All of it is made by `run_pipeline.py synth`: silhouettes, SMPL rows and keypoints of "
            "people who do not exist (docs/synthetic.md). No picture of a real person was used. "
            "The motion was obtained from mocap.cs.cmu.edu (created with funding from NSF "
            "EIA-0196217), the bodies from Anny.",
            *(["", f"The table is of the last of {len(runs)} trainings."] if many else []),
            *(f"\n{text}" for text in said),
            "\n## Recipe\n",
            "```",
            *commands,
            *then,
            "```",
            f"\nTrained on {machine}.",
            f"\n![loss and accuracy within a batch](../../../docs/images/{CURVES.format(name)})",
            *(
                f"\n### Training {place}\n\n{text}" if many else f"\n{text}"
                for place, text in enumerate(recipes, 1)
            ),
            "",
        ]
    )


def _settings(manifest: Mapping[str, Any]) -> str:
    digest = manifest["made_by"]["code"][:16]
    return (
        f"settings: {settings_text(manifest['config'])}. Digest of the code that made it: {digest}."
    )


def _figures(figures: Mapping[str, Any], label: str, page: str) -> str:
    facts, options = figures["facts"], figures["options"]
    ours, baseline = (figures["networks"][name]["runs"][0] for name in (label, GEI))
    kinds = [kind for kind in CONDITIONS if kind in ours["conditions"]]
    header = [""] + [f"{CONDITIONS[kind]}: this / GEI" for kind in kinds]
    rows = [
        [title]
        + [
            " / ".join(_share(each["conditions"][kind][key][0]) for each in (ours, baseline))
            for kind in kinds
        ]
        for key, title in ROWS.items()
    ]
    return (
        f"On {facts['people']} people whose gaits no training has seen, windows of "
        f"{options['window']} frames, pairs of one view left out. {page} has all of it, "
        "with intervals and window lengths.\n\n" + _table(header, rows)
    )


def _groups(figures: Mapping[str, Any], label: str) -> str:
    run = figures["networks"][label]["runs"][0]
    rows = []
    for each in run["groups"]:
        found = (_share(each[key][0]) for key in ("rank1", "eer"))
        rows.append([each["by"], each["group"], str(each["people"]), *found])
    if not rows:
        return ""
    return "By group of the people looked for:\n\n" + _table(
        ["by", "group", "people", "Rank-1", "equal error rate"], rows
    )


def _share(value: float | None) -> str:
    return "–" if value is None or math.isnan(value) else f"{100 * value:.1f} %"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


if __name__ == "__main__":
    main()
