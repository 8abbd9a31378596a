"""From a few settings to a whole scene: who walks when and where, seen by which cameras."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stages.human.rasteriser import Camera, look_at
from stages.human.scenes.clothing_colours import draw_look
from stages.human.scenes.passages import Way, draw_ways
from stages.human.scenes.pictures import picture_paths, read_picture
from stages.human.scenes.places import RULES, choose_place, draw_place, open_air
from stages.human.scenes.routes import Arc
from stages.human.scenes.scene import Passage, Scene, SceneCamera, Walker
from stages.human.scenes.settings import Place, SceneSettings
from stages.human.walkers.gaits import Gait, Population, Split, styled
from stages.human.walkers.people import person, shipped_population
from stages.human.walkers.wardrobe import DRESSES, Dress, draw_outfit

WALKER_STREAM, CAMERA_STREAM, PLACE_STREAM, WAY_STREAM = 401, 409, 419, 421
NAMES = (
    "Ada", "Bo", "Cleo", "Dan", "Eve", "Finn", "Gia", "Hugo", "Ida", "Jon", "Kim", "Leo", "Mia",
    "Ned", "Ona", "Pia", "Quin", "Rex", "Sue", "Tom", "Uma", "Vic", "Wanda", "Xavi", "Yara", "Zed",
)  # fmt: skip
# People of different scenes are different unless they are asked for by number.
PEOPLE_APART = 1000
DISTANCE_M = (8.0, 10.0)
CAMERA_HEIGHT_M = (1.9, 3.2)
LOOKS_AT_M = 0.95


def draw_scene(settings: SceneSettings) -> Scene:
    """The scene of some settings; the same settings give the same scene."""
    rng = np.random.default_rng((settings.seed, PLACE_STREAM))
    if settings.backgrounds is None:
        place = choose_place(settings.place, settings.cameras, rng)
        stage, aside = draw_place(place, rng), RULES[place].aside_deg
    else:
        stage, aside = open_air(rng), 20.0
    rng = np.random.default_rng((settings.seed, CAMERA_STREAM))
    lenses = _draw_cameras(settings, aside, stage.headroom_m, rng)
    cameras = tuple(_camera(number, lens, settings, rng) for number, lens in enumerate(lenses))
    first = settings.first_person
    first = settings.seed * PEOPLE_APART if first is None else first
    walkers = tuple(
        draw_walker(name_of(k), settings.split, first + k, settings.dress, settings.seed)
        for k in range(settings.people)
    )
    rng = np.random.default_rng((settings.seed, WAY_STREAM))
    population = shipped_population(settings.split, planted=True)
    gaits = [walker.person.usual_gait for walker in walkers]
    speeds = [
        gait.pace_hz * walker.person.leg_m for gait, walker in zip(gaits, walkers, strict=True)
    ]
    ways = draw_ways(speeds, settings.seconds, stage, lenses, rng)
    passages = tuple(_passage(way, walkers[way.walker], population, rng) for way in ways)
    frames = max(1, round(settings.seconds * settings.fps))
    return Scene(cameras, stage, walkers, passages, settings.fps, frames, settings.seed)


def _passage(way: Way, walker: Walker, population: Population, rng: np.random.Generator) -> Passage:
    gait = walk_of(walker, population, rng)
    return Passage(way.walker, way.starts_s, way.arc, gait, float(rng.random()))


def walk_of(walker: Walker, population: Population, rng: np.random.Generator) -> Gait:
    """One of somebody's walks, with what they carry."""
    return styled(walker.person.walk(rng, population), walker.outfit.carriage)


def name_of(place: int) -> str:
    """A name for the walker of a number: Ada, Bo, ..., Zed, Ada2, ..."""
    again, letter = divmod(place, len(NAMES))
    return NAMES[letter] + (str(again + 1) if again else "")


def _camera(
    number: int, lens: Camera, settings: SceneSettings, rng: np.random.Generator
) -> SceneCamera:
    """A lens with an exposure and white balance of its own, and maybe a picture behind it."""
    gains = np.exp(rng.normal(0, 0.15) + rng.normal(0, 0.03, 3)).astype(np.float32)
    picture = None
    if settings.backgrounds is not None:
        paths = picture_paths(settings.backgrounds)
        path = paths[(settings.seed * settings.cameras + number) % len(paths)]
        picture = read_picture(path, lens.size_wh)
    name = f"camera_{number}"
    return SceneCamera(name, lens, gains, settings.noise, settings.blur, picture)


def _draw_cameras(
    settings: SceneSettings, aside_deg: float, headroom_m: float, rng: np.random.Generator
) -> tuple[Camera, ...]:
    """Cameras around the middle: two or three stand 90 degrees apart, more are spread evenly."""
    apart = 90.0 if settings.cameras <= 4 else 360.0 / settings.cameras
    base = float(rng.uniform(-aside_deg, aside_deg))
    out = []
    for number in range(settings.cameras):
        azimuth = np.radians(base + apart * number)
        distance, height = rng.uniform(*DISTANCE_M), min(headroom_m, rng.uniform(*CAMERA_HEIGHT_M))
        place = np.array([distance * np.sin(azimuth), -distance * np.cos(azimuth), height])
        focal = settings.tall * settings.height * distance / 1.7
        target = np.array([0.0, 0.0, LOOKS_AT_M])
        out.append(look_at(place, target, focal, (settings.width, settings.height)))
    return tuple(out)


def draw_walker(name: str, split: Split, number: int, dress: str, seed: int) -> Walker:
    """A person of the population, dressed anew for this scene; `dress` as in the settings."""
    somebody = person(split, number, population=shipped_population(split, planted=True))
    rng = np.random.default_rng((seed, WALKER_STREAM, number))
    kind: Dress = next((d for d in DRESSES if d == dress), DRESSES[int(rng.integers(3))])
    outfit = draw_outfit(kind, somebody, rng)
    return Walker(name, somebody, outfit, draw_look(somebody, outfit, rng))


@dataclass(frozen=True)
class PassingBy:
    """One person walks straight past one camera, for measurements.

    azimuth_deg: 0 comes towards the camera, 90 shows their left side; height_px of a person of
    1.7 m in the picture's middle; elevation_deg of the camera; way_m walked.
    """

    number: int = 0
    split: Split = "test"
    dress: Dress = "nm"
    azimuth_deg: float = 90.0
    height_px: float = 200.0
    elevation_deg: float = 8.0
    distance_m: float = 7.0
    way_m: float = 5.0
    size_wh: tuple[int, int] = (960, 540)
    fps: float = 25.0
    noise_levels: float = 1.2
    place: Place = "hall"
    seed: int = 0


def passing_by(wanted: PassingBy) -> Scene:
    """The scene of a `PassingBy`; its length is the walk's."""
    walker = draw_walker("walker", wanted.split, wanted.number, wanted.dress, wanted.seed)
    rng = np.random.default_rng((wanted.seed, WAY_STREAM))
    target = np.array([0.0, 0.0, 0.9])
    up = np.radians(wanted.elevation_deg)
    place = target + wanted.distance_m * np.array([0.0, -np.cos(up), np.sin(up)])
    focal = wanted.height_px * wanted.distance_m / (1.7 * np.cos(up))
    lens = look_at(place, target, focal, wanted.size_wh)
    # Towards the camera is -y; seen from the left the walker goes to the picture's left, -x.
    heading = np.radians(-90.0 - wanted.azimuth_deg)
    half = 0.5 * wanted.way_m * np.array([np.cos(heading), np.sin(heading)])
    gait = walk_of(walker, shipped_population(wanted.split, planted=True), rng)
    arc = Arc((-half[0], -half[1]), (half[0], half[1]))
    stage = draw_place(wanted.place, np.random.default_rng((wanted.seed, PLACE_STREAM)))
    scene = Scene(
        (SceneCamera("camera", lens, np.ones(3, np.float32), wanted.noise_levels),),
        stage,
        (walker,),
        (Passage(0, 0.0, arc, gait, float(rng.random())),),
        wanted.fps,
        1,
        wanted.seed,
    )
    scene.frame_count = max(1, int(scene.passage_s(0) * wanted.fps))
    return scene
