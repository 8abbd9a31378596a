"""A picture to look at: some people of a set in all walks and views, and how they move."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np

from stages.human.joints import COCO_EDGES

# What is shown of a large set.
MAX_PEOPLE, MAX_VIEWS, STRIP_FRAMES = 5, 12, 12
CELL_WH = (66, 96)
LABEL_WIDTH_PX = 178
HEAD_PX = 22
PAPER, INK, LINE = (250, 250, 250), (40, 40, 40), (214, 140, 30)
FONT, FONT_SCALE = cv2.FONT_HERSHEY_SIMPLEX, 0.38
MIN_CONFIDENCE = 0.3

Read = Callable[[str, str, str], tuple[np.ndarray, np.ndarray]]
"""subject, kind, view -> silhouettes uint8 [s,h,w], keypoints float32 [s,17,3]."""


def contact_sheet(
    people: Sequence[tuple[str, str]], kinds: Sequence[str], views: Sequence[str], read: Read
) -> np.ndarray:
    """Draw the sheet.

    Rows are walks of people, columns views, each cell the middle frame of a sequence. Below, the
    first person's first walk frame by frame in up to three views, with its keypoints.

    Args:
        people: id and what to say of each; the first few are shown.
        kinds, views: of each person's sequences.

    Returns:
        BGR uint8 [h,w,3].
    """
    shown = _spread(views, MAX_VIEWS)
    rows = [_header([f"{view} deg" for view in shown])]
    for subject, facts in people[:MAX_PEOPLE]:
        for kind in kinds:
            cells = []
            for view in shown:
                silhouettes, _ = read(subject, kind, view)
                cells.append(_cell(silhouettes[len(silhouettes) // 2]))
            rows.append(_row([subject, kind, facts if kind == kinds[0] else ""], cells))
    subject = people[0][0]
    with_keypoints = len(read(subject, kinds[0], shown[0])[1]) > 0
    rows.append(_header([f"frame by frame{', with keypoints' if with_keypoints else ''}"]))
    for view in _spread(shown, 3):
        silhouettes, keypoints = read(subject, kinds[0], view)
        frames = np.arange(min(STRIP_FRAMES, len(silhouettes)))
        cells = [
            _with_keypoints(silhouettes[t], keypoints[t])
            if with_keypoints
            else _cell(silhouettes[t])
            for t in frames
        ]
        rows.append(_row([subject, kinds[0], f"{view} deg"], cells))
    width = max(row.shape[1] for row in rows)
    return np.concatenate([_widened(row, width) for row in rows])


def _spread(names: Sequence[str], most: int) -> list[str]:
    """Return at most so many, evenly."""
    places = np.arange(min(most, len(names))) * len(names) // min(most, len(names))
    return [names[place] for place in places]


def _header(labels: Sequence[str]) -> np.ndarray:
    picture = _paper(LABEL_WIDTH_PX + CELL_WH[0] * max(4, len(labels)), HEAD_PX)
    for place, label in enumerate(labels):
        _write(picture, label, LABEL_WIDTH_PX + place * CELL_WH[0] + 4, HEAD_PX - 7)
    return picture


def _row(labels: Sequence[str], cells: Sequence[np.ndarray]) -> np.ndarray:
    label = _paper(LABEL_WIDTH_PX, CELL_WH[1])
    for place, text in enumerate(labels):
        _write(label, text, 6, 30 + 18 * place)
    return np.concatenate([label, *cells], axis=1)


def _cell(silhouette: np.ndarray) -> np.ndarray:
    """Return one silhouette, dark on light, in a frame of its own."""
    width, height = CELL_WH[0] - 2, CELL_WH[1] - 2
    scaled = cv2.resize(silhouette, (width, height), interpolation=cv2.INTER_LINEAR)
    cell = _paper(*CELL_WH)
    cell[1:-1, 1:-1] = (255 - scaled.astype(np.int16) * 200 // 255).astype(np.uint8)[..., None]
    return cell


def _with_keypoints(silhouette: np.ndarray, keypoints: np.ndarray) -> np.ndarray:
    """Return a silhouette with the keypoints' lines, set over it by their own extent.

    Alignment keeps no trace of where in the picture the person was: the lines are scaled so that
    nose to ankles is about as much of the cell as it is of a person.
    """
    cell = _cell(silhouette)
    points, sure = keypoints[:, :2].astype(np.float64), keypoints[:, 2] > MIN_CONFIDENCE
    if np.ptp(points[:, 1]) <= 0:
        return cell
    scale = 0.86 * CELL_WH[1] / np.ptp(points[:, 1])
    hips = points[[11, 12]].mean(axis=0)
    placed = (points - hips) * scale
    placed += [CELL_WH[0] / 2, CELL_WH[1] * 0.09 - placed[:, 1].min()]
    for first, second in COCO_EDGES:
        if sure[first] and sure[second]:
            start, end = np.rint(placed[[first, second]]).astype(int).tolist()
            cv2.line(cell, start, end, LINE, 1, cv2.LINE_AA)
    return cell


def _paper(width: int, height: int) -> np.ndarray:
    return np.full((height, width, 3), PAPER, np.uint8)


def _widened(row: np.ndarray, width: int) -> np.ndarray:
    return np.concatenate([row, _paper(width - row.shape[1], len(row))], axis=1)


def _write(picture: np.ndarray, text: str, x: int, y: int) -> None:
    cv2.putText(picture, text, (x, y), FONT, FONT_SCALE, INK, 1, cv2.LINE_AA)
