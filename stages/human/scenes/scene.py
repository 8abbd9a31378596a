"""A scene with people in colour: cameras, a place, walkers on their ways, any frame of any camera.

    scene = draw_scene(SceneSettings(people=4, cameras=2, seed=1))
    pixels, truth = scene.frame(camera=0, index=25)

A frame depends on the settings and its number alone, so frames may be asked for in any order and
by any process. World axes: metres, z up, floor at z = 0. Letters: V vertices, H W pixels.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from stages.human.rasteriser import Buffers, Camera
from stages.human.scenes.backdrop import SAMPLES, Backdrop, draw_backdrop
from stages.human.scenes.clothing_colours import Look
from stages.human.scenes.dressing import Figure, dress
from stages.human.scenes.lighting import SceneLight
from stages.human.scenes.moving import Moment, Stride3d, stride_of
from stages.human.scenes.painting import (
    add_grain,
    lay_over,
    mask_of,
    paint,
    project,
    put_in_front,
    srgb_table,
)
from stages.human.scenes.pictures import picture_backdrop
from stages.human.scenes.routes import Arc, Route, placed, walk_route
from stages.human.scenes.shadows import Caster, Shadow, floor_shade, shadows_of
from stages.human.scenes.stage_set import StageSet
from stages.human.scenes.true_pose import true_pose
from stages.human.truth import Box, FrameTruth, TruthPerson
from stages.human.walkers.gaits import Gait
from stages.human.walkers.people import Person
from stages.human.walkers.wardrobe import Outfit

GRAIN_STREAM, FRAME_STREAM = 307, 311
# Strides kept beyond one a walker, so that who comes back soon is there at once (15 MB each).
STRIDES_MORE = 4
# A stride on the floor is not quite as fast as its gait says; a walk surely ends within this much.
SLOWEST = 1.6
GRAIN_MARGIN_PX = 64
NEAREST_M = 0.5  # who comes nearer to the lens is not drawn; ways keep farther off
# Pictures that are averaged for one with motion blur.
BLUR_STEPS = 4
# Where a camera's exposure control brings the picture's middle tones, in linear light.
MID_TONE = 0.2
EXPOSURES = (0.4, 3.0)
PALE = 0.65  # share of the light that a pale face gives back


@dataclass(frozen=True, eq=False)
class Walker:
    """Somebody in the scene, dressed: a name, a person, an outfit and its colours."""

    name: str
    person: Person
    outfit: Outfit
    look: Look

    @cached_property
    def figure(self) -> Figure:
        """The dressed mesh."""
        return dress(self.person, self.outfit, self.look)


@dataclass(frozen=True, eq=False)
class Passage:
    """One walk through the scene: who, when, where, how."""

    walker: int
    starts_s: float
    arc: Arc
    gait: Gait
    first_phase: float = 0.0


@dataclass(frozen=True, eq=False)
class Walking:
    """A passage ready to be drawn."""

    stride: Stride3d
    route: Route


@dataclass(frozen=True, eq=False)
class SceneCamera:
    """A camera.

    Attributes:
        gains: float32 [3], factors on linear red, green and blue after the exposure has been set.
        noise_levels: sensor noise, 8-bit levels.
        open_share: of the time between two frames that the shutter is open; 0 freezes.
        picture: uint8 [H,W,3] BGR that stands in for the place.
    """

    name: str
    lens: Camera
    gains: NDArray[np.float32]
    noise_levels: float = 1.2
    open_share: float = 0.0
    picture: NDArray[np.uint8] | None = None


@dataclass(frozen=True, eq=False)
class Empty:
    """The place without people.

    Attributes:
        backdrop: as drawn.
        exposure: float32 [3], factors on linear light.
        light: float32 [H,W,3], exposed; encoded: uint8 [H,W,3] BGR, the same as a picture.
    """

    backdrop: Backdrop
    exposure: NDArray[np.float32]
    light: NDArray[np.float32]
    encoded: NDArray[np.uint8]


class Scene:
    """People walking in a place.

    Attributes:
        names: of the walkers.
        cameras, stage, walkers, passages: what it is made of.
        fps, frame_count: how long it is.
    """

    def __init__(
        self,
        cameras: tuple[SceneCamera, ...],
        stage: StageSet,
        walkers: tuple[Walker, ...],
        passages: tuple[Passage, ...],
        fps: float,
        frame_count: int,
        seed: int = 0,
    ) -> None:
        self.cameras, self.stage = cameras, stage
        self.walkers, self.passages = walkers, passages
        self.fps, self.frame_count, self.seed = fps, frame_count, seed
        self.names = tuple(walker.name for walker in walkers)
        self._walking: OrderedDict[int, Walking] = OrderedDict()
        self._empty: dict[int, Empty] = {}
        self._grains: dict[int, NDArray[np.int8]] = {}
        self._ends: dict[int, float] = {}

    def frame(self, camera: int, index: int) -> tuple[NDArray[np.uint8], FrameTruth]:
        """A frame and what is to be seen in it.

        Args:
            camera: number of the camera.
            index: of the frame, 0 to frame_count - 1.

        Returns:
            uint8 [H,W,3] BGR, and the truth.

        Raises:
            IndexError: there is no such camera or frame.
        """
        if not 0 <= camera < len(self.cameras) or not 0 <= index < self.frame_count:
            raise IndexError(
                f"expected camera 0..{len(self.cameras) - 1} and frame 0..{self.frame_count - 1}, "
                f"got camera {camera}, frame {index}"
            )
        time_s = index / self.fps
        shutter = self.cameras[camera].open_share
        if shutter > 0:
            moments = time_s + (np.arange(BLUR_STEPS) - 0.5 * (BLUR_STEPS - 1)) / BLUR_STEPS * (
                shutter / self.fps
            )
            total = np.zeros((*self.cameras[camera].lens.size_wh[::-1], 3), np.float32)
            for moment_s in moments:
                total += self._picture(camera, float(moment_s))[0]
            frame = (total / BLUR_STEPS + 0.5).astype(np.uint8)
            people = self._picture(camera, time_s)[1]
        else:
            frame, people = self._picture(camera, time_s)
        self._add_noise(frame, camera, index)
        return frame, FrameTruth(self.cameras[camera].name, index, time_s, people)

    def _picture(
        self, camera: int, time_s: float
    ) -> tuple[NDArray[np.uint8], tuple[TruthPerson, ...]]:
        """A sharp picture without noise, and who is to be seen."""
        lens, empty = self.cameras[camera].lens, self._empty_place(camera)
        frame = empty.encoded.copy()
        present = self._present(time_s)
        drawn = [
            (number, moment, buffers)
            for number, moment in present
            if (buffers := self._alone(lens, number, moment)) is not None
        ]
        shadows = [
            shadow
            for caster in self._casters(present)
            for shadow in shadows_of(lens, self.stage.light, caster)
        ]
        everyone = self._together(camera, shadows, [buffers for _, _, buffers in drawn])
        if everyone is None:
            return frame, ()
        window, buffers = everyone
        shade = floor_shade(shadows, window, empty.backdrop.bare_floor)
        lay_over(frame, empty.light, shade, buffers, empty.exposure)
        people = [self._truth(lens, number, moment, own, buffers) for number, moment, own in drawn]
        seen = [person for person in people if person is not None]
        return frame, tuple(sorted(seen, key=lambda person: person.person))

    def passage_s(self, number: int) -> float:
        """How long a passage takes, seconds."""
        return self._walk(number).route.duration_s

    def _present(self, time_s: float) -> list[tuple[int, Moment]]:
        """Passages under way, with the walker where they are."""
        out = []
        for number, passage in enumerate(self.passages):
            since = time_s - passage.starts_s
            if since < 0 or since > self._ends.get(number, self._latest_end_s(passage)):
                continue
            walking = self._walk(number)
            if since > walking.route.duration_s:
                continue
            place, turn, phase = walking.route.at(since)
            out.append((number, placed(walking.stride.at(phase), place, turn)))
        return out

    def _latest_end_s(self, passage: Passage) -> float:
        """A time after which a passage is over, known without working out its stride."""
        speed = passage.gait.pace_hz * self.walkers[passage.walker].person.leg_m
        return SLOWEST * passage.arc.length_m / speed + 1.0

    def _walk(self, number: int) -> Walking:
        """A passage's stride and route; the last few are kept."""
        if number in self._walking:
            self._walking.move_to_end(number)
            return self._walking[number]
        passage = self.passages[number]
        walker = self.walkers[passage.walker]
        stride = stride_of(walker.figure, passage.gait, walker.person.leg_m)
        walking = Walking(stride, walk_route(passage.arc, stride, passage.first_phase))
        self._walking[number] = walking
        self._ends[number] = walking.route.duration_s
        if len(self._walking) > len(self.walkers) + STRIDES_MORE:
            self._walking.popitem(last=False)
        return walking

    def _alone(self, lens: Camera, number: int, moment: Moment) -> Buffers | None:
        """A person alone in a window around them, even where it leaves the image."""
        points, depth = project(lens, moment.vertices)
        if float(depth.min()) < NEAREST_M:
            return None
        x1, y1 = (int(v) for v in np.floor(points.min(axis=0)))
        x2, y2 = (int(v) for v in np.ceil(points.max(axis=0)))
        width, height = lens.size_wh
        if x1 >= width or x2 <= 0 or y1 >= height or y2 <= 0:
            return None
        buffers = Buffers.empty((x2 - x1, y2 - y1), (x1, y1), SAMPLES)
        figure = self.walkers[self.passages[number].walker].figure
        light = self.stage.light.falling_on(moment.normals)
        paint(buffers, points, depth, light, figure.surface, number)
        return buffers

    def _together(
        self, camera: int, shadows: list[Shadow], alone: list[Buffers]
    ) -> tuple[Box, Buffers] | None:
        """Everybody and the place's own depth in one window that holds their shadows, too."""
        lens = self.cameras[camera].lens
        windows = [shadow.box for shadow in shadows]
        for buffers in alone:
            x, y = buffers.origin_xy
            h, w = (side // SAMPLES for side in buffers.depth.shape)
            windows.append((x, y, x + w, y + h))
        if not windows:
            return None
        corners = np.array(windows)
        x1, y1 = (int(v) for v in np.maximum(corners[:, :2].min(axis=0), 0))
        x2, y2 = (int(v) for v in np.minimum(corners[:, 2:].max(axis=0), lens.size_wh))
        if x1 >= x2 or y1 >= y2:
            return None
        together = Buffers.empty((x2 - x1, y2 - y1), (x1, y1), SAMPLES)
        still = self._empty_place(camera).backdrop.depth
        s = SAMPLES
        together.depth[...] = still[y1 * s : y2 * s, x1 * s : x2 * s]
        for buffers in alone:
            put_in_front(together, buffers)
        return (x1, y1, x2, y2), together

    def _casters(self, present: list[tuple[int, Moment]]) -> list[Caster]:
        return [
            Caster(
                moment.vertices,
                self.walkers[self.passages[number].walker].figure.surface.faces,
                moment.joints,
            )
            for number, moment in present
        ]

    def _truth(
        self, lens: Camera, number: int, moment: Moment, alone: Buffers, together: Buffers
    ) -> TruthPerson | None:
        """What is to be seen of one passage; None without a visible pixel."""
        whole, full = mask_and_box(alone, number)
        seen, box = mask_and_box(together, number)
        if full is None or box is None:
            return None
        passage = self.passages[number]
        walker = self.walkers[passage.walker]
        dx, dy = together.origin_xy
        pose = true_pose(lens, moment, walker.person, self._walk(number).stride, box)
        return TruthPerson(
            person=passage.walker,
            name=walker.name,
            bbox_xyxy_px=box,
            full_bbox_xyxy_px=full,
            visibility=float(seen.sum() / whole.sum()),
            mask=seen[box[1] - dy : box[3] - dy, box[0] - dx : box[2] - dx],
            track=number,
            pose=pose,
        )

    def _empty_place(self, camera: int) -> Empty:
        """The place without people, worked out at first use."""
        if camera not in self._empty:
            wanted = self.cameras[camera]
            if wanted.picture is None:
                backdrop = draw_backdrop(self.stage, wanted.lens)
                exposure = wanted.gains * exposure_for(backdrop.colour, self.stage.light)
            else:
                backdrop = picture_backdrop(wanted.picture, wanted.lens)
                exposure = np.ones(3, np.float32)  # the picture has been exposed
            light = backdrop.colour * exposure
            table = srgb_table()
            places = np.clip(light * (len(table) - 1) + 0.5, 0, len(table) - 1).astype(np.int32)
            encoded = np.ascontiguousarray(table[places][..., ::-1])
            self._empty[camera] = Empty(backdrop, exposure, light, encoded)
        return self._empty[camera]

    def _add_noise(self, frame: NDArray[np.uint8], camera: int, index: int) -> None:
        """Sensor noise: one field a camera, laid down elsewhere in each frame."""
        levels = self.cameras[camera].noise_levels
        if levels <= 0:
            return
        height, width = frame.shape[:2]
        if camera not in self._grains:
            rng = np.random.default_rng((self.seed, GRAIN_STREAM, camera))
            size = (height + GRAIN_MARGIN_PX, width + GRAIN_MARGIN_PX)
            luma = rng.standard_normal((*size, 1), dtype=np.float32)
            chroma = 0.4 * rng.standard_normal((*size, 3), dtype=np.float32)
            self._grains[camera] = np.clip(np.round(levels * (luma + chroma)), -127, 127).astype(
                np.int8
            )
        rng = np.random.default_rng((self.seed, FRAME_STREAM, camera, index))
        x, y = rng.integers(0, GRAIN_MARGIN_PX + 1, 2)
        add_grain(frame, self._grains[camera], (int(x), int(y)))


def exposure_for(colour: NDArray[np.float32], light: SceneLight) -> float:
    """What a camera multiplies linear light [H,W,3] with so that the picture is neither dark nor
    people in full light washed out.
    """
    middle = float(np.exp(np.log(np.maximum(colour.mean(axis=2), 1e-3)).mean()))
    brightest = float((light.lamp + light.sky).mean()) * PALE
    return float(np.clip(min(MID_TONE / middle, 1 / brightest), *EXPOSURES))


def mask_and_box(buffers: Buffers, person: int) -> tuple[NDArray[np.bool_], Box | None]:
    """A person's pixels in the window [h,w], and their box in image pixels (None without any)."""
    mask = mask_of(buffers, person)
    ys, xs = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(ys):
        return mask, None
    dx, dy = buffers.origin_xy
    return mask, (int(xs[0]) + dx, int(ys[0]) + dy, int(xs[-1]) + 1 + dx, int(ys[-1]) + 1 + dy)
