"""Measured imperfections and their imitation side by side, as Markdown."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

import numpy as np
from landmark_observations import Observed, observe, spreads_of, usable
from mask_errors import AVERAGES, MaskErrors, MaskSummary, imitated, mask_errors, summary_of
from missed_people import missed
from numpy.typing import NDArray
from seen_people import COCO, FPS, Row

from stages.body.landmarks import LandmarksBody
from stages.human.joints import SMPL_JOINT_NAMES
from stages.human.rotation import axis_angle_to_matrix, matrix_to_axis_angle
from stages.human.skeleton import load_skeleton
from stages.human.walkers.landmark_bones import bones_of, facing_axes
from stages.human.walkers.landmark_noise import SeenLandmarks, seen_landmarks
from stages.human.walkers.measured import LandmarkFigures, MaskFigures
from stages.human.walkers.wardrobe import DRESSES

HEIGHT_EDGES_PX = (48.0, 75.0, 110.0, 160.0, 230.0, 340.0)
MOST_SEQUENCES = 40  # of one height
SHORTEST = 12
GROUPS = {
    "nose": [0], "ears": [7, 8], "shoulders": [11, 12], "elbows": [13, 14], "wrists": [15, 16],
    "knees": [25, 26], "ankles": [27, 28], "toes": [31, 32],
}  # fmt: skip
BONES_SHOWN = {"thigh": [25, 26], "shank": [27, 28], "upper arm": [13, 14], "trunk": [34]}
POSTURES_SHOWN = {**BONES_SHOWN, "head": [35], "foot": [31, 32]}
JOINTS_SHOWN = ("pelvis", "left_hip", "left_knee", "spine3", "head", "left_shoulder", "left_elbow")


def by_height(rows: Sequence[Row]) -> list[list[list[Row]]]:
    """Usable rows by height, then by walk; of people without bags, which are often left out."""
    walks: dict[int, list[Row]] = {}
    for row in usable(rows):
        if DRESSES[row.dress] != "bg":
            walks.setdefault(row.walk, []).append(row)
    out = []
    for low, high in pairwise(HEIGHT_EDGES_PX):
        chosen = [
            walk
            for walk in walks.values()
            if len(walk) >= SHORTEST and low <= np.mean([row.height_px for row in walk]) < high
        ]
        out.append(chosen[:MOST_SEQUENCES])
    return out


def measured_masks(walks: Sequence[Sequence[Row]]) -> MaskSummary:
    """What segmentation did."""
    return summary_of([[mask_errors(r.true_mask, r.seen_mask) for r in walk] for walk in walks])


def imitated_masks(
    walks: Sequence[Sequence[Row]], figures: MaskFigures, seed: int = 0
) -> MaskSummary:
    """What the imitation does to the same true masks."""
    rng = np.random.default_rng(seed)
    errors: list[list[MaskErrors | None]] = []
    for walk in walks:
        true = [row.true_mask for row in walk]
        seen = imitated(true, 1 / FPS, rng, figures)
        errors.append([mask_errors(a, b) for a, b in zip(true, seen, strict=True)])
    return summary_of(errors)


def missed_table(rows: Sequence[Row]) -> list[str]:
    """Lines: who is not found, by height."""
    heights = [f"{low:.0f}–{high:.0f} px" for low, high in pairwise(HEIGHT_EDGES_PX)]
    found = missed(rows)
    share = " | ".join(f"{value:.1%}" for value in found.shares)
    first = " | ".join(f"{value:.1f}" for value in found.first)
    return [
        f"| | {' | '.join(heights)} |",
        "|---" * (len(heights) + 1) + "|",
        f"| frames missed of those after the first sighting | {share} |",
        f"| frames until the first sighting | {first} |",
        "",
        f"A stretch of missed frames lasts {found.lasts_s:.2f} s; in {found.switched:.1%} of the "
        "walks the track's number changes.",
    ]


def mask_table(measured: Sequence[MaskSummary], ours: Sequence[MaskSummary]) -> list[str]:
    """Lines: a row a figure, a column a height, `measured / imitated`."""
    heights = [f"{low:.0f}–{high:.0f} px" for low, high in pairwise(HEIGHT_EDGES_PX)]
    lines = [f"| | {' | '.join(heights)} |", "|---" * (len(heights) + 1) + "|"]

    def row(name: str, values: list[tuple[float, float]], digits: int = 3) -> None:
        cells = " | ".join(f"{a:.{digits}f} / {b:.{digits}f}" for a, b in values)
        lines.append(f"| {name} | {cells} |")

    pairs = list(zip(measured, ours, strict=True))
    row("frames", [(a.count, b.count) for a, b in pairs], 0)
    for name in AVERAGES:
        label = name.replace("_", " ")
        row(f"{label}, mean", [(a.means[name], b.means[name]) for a, b in pairs])
        row(f"{label}, spread", [(a.spreads[name], b.spreads[name]) for a, b in pairs])
    row("alike 0.04 heights along the outline", [(a.alike[2], b.alike[2]) for a, b in pairs], 2)
    row("offset between sequences", [(a.common_spread, b.common_spread) for a, b in pairs], 4)
    row("cells between sequences", [(a.steady_spread, b.steady_spread) for a, b in pairs], 4)
    row("cells between frames", [(a.flicker_spread, b.flicker_spread) for a, b in pairs], 4)
    row("unevenness between sequences", [(a.uneven, b.uneven) for a, b in pairs], 2)
    row("remembered after 40 ms", [(a.remembered, b.remembered) for a, b in pairs], 2)
    return lines


def bag_table(rows: Sequence[Row]) -> list[str]:
    """Lines: what of people's area is bitten off, by what they wear or carry."""
    walks: dict[tuple[int, int], list[float]] = {}
    for row in usable(rows):
        found = mask_errors(row.true_mask, row.seen_mask)
        if found is not None:
            walks.setdefault((row.dress, row.walk), []).append(found.averages["bite"])
    lines = ["| | walks | mean | median | 75th of 100 | 90th of 100 |", "|---|---|---|---|---|---|"]
    for place, dress in enumerate(DRESSES):
        bites = [np.mean(values) for (worn, _), values in walks.items() if worn == place]
        if bites:
            parts = " | ".join(f"{np.quantile(bites, q):.1%}" for q in (0.5, 0.75, 0.9))
            lines.append(f"| {dress} | {len(bites)} | {np.mean(bites):.1%} | {parts} |")
    return lines


def imitated_rows(
    o: Observed, rows: Sequence[Row], figures: LandmarkFigures, seed: int = 0
) -> SeenLandmarks:
    """The imitation's landmarks for the same frames."""
    rng = np.random.default_rng(seed)
    world, points = np.zeros((len(rows), 33, 4)), np.zeros((len(rows), 17, 3))
    for one in o.sequences:
        image = np.stack([rows[i].true_px for i in one])
        tall = float(np.median(o.height_px[one]))
        seen = seen_landmarks(o.true[one], image, tall, 1 / FPS, rng, 1.0, figures)
        world[one], points[one] = seen.world, seen.keypoints_px
    return SeenLandmarks(world, points)


def rows_of(o: Observed, rows: Sequence[Row]) -> list[Row]:
    """The rows behind an `Observed`, in its order."""
    walks: dict[int, list[Row]] = {}
    for row in usable(rows):
        walks.setdefault(row.walk, []).append(row)
    return [row for walk in walks.values() if len(walk) >= SHORTEST for row in walk]


def landmark_table(rows: Sequence[Row], figures: LandmarkFigures) -> list[str]:
    """Lines: errors of landmarks and of the bodies made from them, measured / imitated."""
    o = observe(rows)
    chosen = rows_of(o, rows)
    ours = imitated_rows(o, chosen, figures)
    real = SeenLandmarks(
        np.stack([row.seen_world for row in chosen]),
        np.stack([row.seen_keypoints for row in chosen]),
    )
    lines = [
        "| | steady x, y, z m | wandering x, y, z m | remembered | visibility | image, heights |",
        "|---|---|---|---|---|---|",
    ]
    for name, places in GROUPS.items():
        a, b = (_group(o, chosen, seen, places) for seen in (real, ours))
        lines.append(
            f"| {name} | " + " | ".join(f"{x} / {y}" for x, y in zip(a, b, strict=True)) + " |"
        )
    own = "bone: own length seen, spread of the length"
    lines += _by_bone(
        own, BONES_SHOWN, lambda places: [_length(o, x, places) for x in (real, ours)]
    )
    held = "bone: how a person's average over time differs, seen with true"
    lines += _by_bone(
        held, POSTURES_SHOWN, lambda places: [_posture(o, x, places) for x in (real, ours)]
    )
    lines += [
        "",
        "| angle error, degrees: median, 90th of 100 | measured / imitated |",
        "|---|---|",
    ]
    angles = [_angles(o, chosen, seen) for seen in (real, ours)]
    for name in JOINTS_SHOWN:
        place = SMPL_JOINT_NAMES.index(name)
        a, b = (
            f"{np.median(one[:, place]):.0f}, {np.quantile(one[:, place], 0.9):.0f}"
            for one in angles
        )
        lines.append(f"| {name.replace('_', ' ')} | {a} / {b} |")
    return lines


def _by_bone(
    title: str, shown: Mapping[str, list[int]], figures: Callable[[list[int]], list[str]]
) -> list[str]:
    """Lines of a table: a row a bone, `measured / imitated`."""
    rows = [f"| {name} | {' / '.join(figures(places))} |" for name, places in shown.items()]
    return ["", f"| {title} | measured / imitated |", "|---|---|", *rows]


def _group(o: Observed, rows: Sequence[Row], seen: SeenLandmarks, places: list[int]) -> list[str]:
    points = seen.world[..., :3] - 0.5 * (seen.world[:, 23:24, :3] + seen.world[:, 24:25, :3])
    found = spreads_of(points[:, places] - o.true[:, places], o, o.sequences)
    steady, wander = (np.sqrt((x**2).mean(axis=0)) for x in (found.steady, found.wander))
    shown = seen.world[:, places, 3]
    coco = [COCO.index(p) for p in places if p in COCO]
    image = "–"
    if coco:
        true = np.stack([row.true_px for row in rows])[:, COCO][:, coco]
        off = (seen.keypoints_px[:, coco, :2] - true) / o.height_px[:, None, None]
        image = f"{np.sqrt((off**2).mean()):.3f}"
    return [
        ", ".join(f"{x:.3f}" for x in steady),
        ", ".join(f"{x:.3f}" for x in wander),
        f"{found.remembered.mean():.2f}",
        f"{shown.mean():.2f} ± {shown.std():.2f}",
        image,
    ]


def _length(o: Observed, seen: SeenLandmarks, places: list[int]) -> str:
    def lengths(points: NDArray[np.float64]) -> NDArray[np.float64]:
        bones = np.linalg.norm(bones_of(points)[:, places], axis=2)
        return np.log([np.median(bones[one], axis=0) for one in o.sequences])

    true, got = lengths(o.true), lengths(seen.world[..., :3])
    apart = true - true.mean(axis=0)
    share = float((apart * (got - got.mean(axis=0))).sum() / (apart**2).sum())
    return f"{share:.2f}, {got.std(axis=0).mean():.1%}"


def _posture(o: Observed, seen: SeenLandmarks, places: list[int]) -> str:
    """Correlation of directions [s,3] (left, down, forwards) with the true ones, view taken out."""
    terms = np.array([o.terms[one].mean(axis=0) for one in o.sequences])
    points = seen.world[..., :3]
    about = np.einsum("na,na->n", points[:, 11] - points[:, 12], o.true[:, 11] - o.true[:, 12]) < 0
    kept = np.array([about[one].mean() < 0.2 for one in o.sequences])

    def own(landmarks: NDArray[np.float64]) -> NDArray[np.float64]:
        bones = bones_of(landmarks)[:, places]
        bones = bones / np.linalg.norm(bones, axis=2, keepdims=True) @ facing_axes(o.view)
        held = np.array([bones[one].mean(axis=0).ravel() for one in o.sequences])[kept]
        usual = np.linalg.lstsq(terms[kept], held, rcond=None)[0]
        return np.asarray(held - terms[kept] @ usual)

    true, got = own(o.true), own(points)
    alike = (true * got).sum(axis=0) / np.sqrt((true**2).sum(axis=0) * (got**2).sum(axis=0))
    return ", ".join(f"{x:.2f}" for x in alike.reshape(-1, 3).mean(axis=0))


def _angles(o: Observed, rows: Sequence[Row], seen: SeenLandmarks) -> NDArray[np.float64]:
    """Angles [N,24] degrees between true and seen rotations of the joints."""
    body = LandmarksBody(load_skeleton())
    out = np.zeros((len(rows), 24))
    for one in o.sequences:
        theta = body.estimate_track(
            np.round(o.frames[one] * 1e9 / FPS).astype(np.int64),
            seen.world[one].astype(np.float32),
            seen.keypoints_px[one].astype(np.float32),
            np.stack([rows[i].box for i in one]),
        )
        got = axis_angle_to_matrix(theta[:, 3:75].astype(np.float64).reshape(-1, 24, 3))
        pose = np.stack([rows[i].true_theta[3:75] for i in one]).reshape(-1, 24, 3)
        true = axis_angle_to_matrix(pose)
        true[:, 0] = np.stack([rows[i].to_hips for i in one]) @ true[:, 0]
        out[one] = np.degrees(
            np.linalg.norm(matrix_to_axis_angle(np.swapaxes(true, -1, -2) @ got), axis=-1)
        )
    return out
