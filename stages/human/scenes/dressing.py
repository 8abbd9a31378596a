"""A dressed person at rest: body, cloth, shoes, hair and what is carried, as one coloured mesh.

Cloth is the skin smoothed (cloth spans the hollows of a body) and pushed out along its normals by
the outfit's thickness, with folds. SMPL's rest pose (T, y up, facing +z), metres.
Letters: V vertices, F faces.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, diags

from stages.human.rasteriser import vertex_normals
from stages.human.scenes.clothing_colours import Look
from stages.human.scenes.clothing_parts import ARM_JOINTS, HEAD, HeadBox, Measures, measures
from stages.human.scenes.cutting import Skin, cut
from stages.human.scenes.drapes3d import HANGS_ON, DrapeMesh, drape_mesh, drape_surface
from stages.human.scenes.painting import PLAIN, Surface
from stages.human.scenes.solids3d import solid_meshes
from stages.human.walkers.bodies import Mesh, load_mesh, load_walker_skeleton
from stages.human.walkers.people import Person
from stages.human.walkers.wardrobe import Outfit, hair_offset, region_of

Floats = NDArray[np.float32]

SMOOTHING = 8
SHOE_M = 0.012
SOLE_M = 0.018  # height of a sole's edge
SCALP_M = 0.006  # hair of no thickness still has a colour and a little volume
HAT_M = {"cap": 0.02, "beanie": 0.018, "brim": 0.024, "hood": 0.03}
HIDDEN_M = 0.04  # skin this far inside a drape is left out: nobody sees it
UPPER, LOWER = 0, 1  # numbers of the patterns


@dataclass(frozen=True, eq=False)
class Figure:
    """A dressed person at rest.

    Attributes:
        mesh: `template` float32 [V,3] are the clothed vertices; no shape directions.
        rest_joints: float64 [24,3].
        surface: faces and colours; its vertices are those of `mesh`, then those of the drapes.
        drapes: what hangs; posed by `drapes3d.hang`.
        soles: int64, vertices that touch the floor.
    """

    mesh: Mesh
    rest_joints: NDArray[np.float64]
    surface: Surface
    drapes: tuple[DrapeMesh, ...]
    soles: NDArray[np.int64]


def dress(person: Person, outfit: Outfit, look: Look) -> Figure:
    """Put an outfit in colours on a person."""
    joints = load_walker_skeleton().rest_joints(person.shape)
    skin = _clothed_skin(person, outfit, look, joints)
    surface = _body_surface(skin, joints, outfit, look)
    template, bound, weights = [skin.clothed], [skin.joints], [skin.weights]
    surfaces = [surface]
    for thing in solid_meshes(outfit, look, skin.rest):
        count = len(thing.vertices)
        template.append(thing.vertices)
        bound.append(np.full((count, 4), thing.joint, np.int32))
        weights.append(np.tile(np.array([1, 0, 0, 0], np.float32), (count, 1)))
        surfaces.append(plain_surface(count, thing.faces, thing.colour))
    mesh = Mesh(
        template=np.concatenate(template),
        directions=np.zeros((0, 3, 0), np.float32),
        faces=skin.faces,
        joints=np.ascontiguousarray(np.concatenate(bound)),
        weights=np.ascontiguousarray(np.concatenate(weights)),
        owner=skin.owner.astype(np.int64),
    )
    drapes: tuple[DrapeMesh, ...] = ()
    if outfit.drape is not None:
        drapes = (drape_mesh(outfit.drape, skin.owner, skin.rest),)
        is_coat = outfit.drape.kind == "coat"
        fabric = look.upper_fabric if is_coat else look.lower_fabric
        number = UPPER if is_coat else LOWER
        surfaces.append(drape_surface(drapes[0], look.drape, number, fabric.repeat_m))
    patterns = np.stack([look.upper_fabric.tile, look.lower_fabric.tile])
    is_shoe = np.isin(skin.owner, (7, 8, 10, 11))
    soles = np.flatnonzero(is_shoe & (skin.rest[:, 1] < joints[7, 1] - 0.02))
    return Figure(mesh, joints, joined(surfaces, patterns), drapes, soles)


def _clothed_skin(person: Person, outfit: Outfit, look: Look, joints: NDArray[np.float64]) -> Skin:
    """The body with cloth on, cut along all edges of what covers it."""
    mesh = load_mesh("full")
    rest = mesh.shaped(person.shape)
    head = HeadBox.of(rest)
    whole = measures(rest, mesh.owner, joints, head, look)
    skin = Skin(rest, _clothed(rest, whole, outfit, look), mesh.joints, mesh.weights, mesh.faces)
    for place in range(len(whole.edges)):
        now = measures(skin.rest, skin.owner, joints, head, look)
        skin = cut(skin, now.edges[place])
    return skin


def _clothed(rest: Floats, inside: Measures, outfit: Outfit, look: Look) -> Floats:
    """Vertices [V,3] of the full mesh with cloth, shoes, hair and hat on."""
    mesh, mean = load_mesh("full"), _neighbour_mean()
    cloth = (inside.upper > 0) | (inside.lower > 0)
    shoes, hair, hat = inside.shoes > 0, inside.hair > 0, inside.hat > 0
    covered = cloth | shoes | hat
    v = rest.astype(np.float64)
    for _ in range(SMOOTHING):
        v = np.where(covered[:, None], mean @ v, v)
    normals = vertex_normals(v.astype(np.float32), mesh.faces).astype(np.float64)
    # Smoothing shrinks: thin limbs would lose the cloth's thickness again.
    shrunk = np.clip(((rest - v) * normals).sum(axis=1), 0.0, 0.03)
    waves = np.sin(rest @ outfit.folds[:, :3].T + outfit.folds[:, 3]).mean(axis=1)
    thick = np.maximum(outfit.thickness[region_of(mesh)] * (1 + waves), 0.004)
    scalp = np.maximum(hair_offset(outfit.hair, mesh, rest), SCALP_M)
    offset = np.where(cloth, thick, 0.0)
    offset = np.where(shoes, SHOE_M, offset)
    offset = np.where(hair, scalp, offset)
    offset = np.where(hat, HAT_M.get(look.hat_kind, 0.0), offset)
    offset = 0.5 * offset + 0.5 * (mean @ offset)
    return np.asarray(v + normals * (offset + shrunk * covered)[:, None], np.float32)


@cache
def _neighbour_mean() -> csr_matrix:
    """The matrix [V,V] that replaces a value of the full mesh by its neighbours' mean."""
    mesh = load_mesh("full")
    faces, count = mesh.faces, len(mesh.template)
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    rows, columns = np.concatenate([edges, edges[:, ::-1]]).T
    links = csr_matrix((np.ones(len(rows)), (rows, columns)), shape=(count, count))
    links.data[:] = 1.0
    degree = np.asarray(links.sum(axis=1)).ravel()
    return diags(1 / np.maximum(degree, 1)) @ links


def _body_surface(skin: Skin, joints: NDArray[np.float64], outfit: Outfit, look: Look) -> Surface:
    """Colours of the cut body, without what a drape hides."""
    owner = skin.owner
    faces = skin.faces
    if outfit.drape is not None:
        low, high = outfit.drape.hem_y + HIDDEN_M, outfit.drape.top_y - HIDDEN_M
        y = skin.rest[faces, 1]
        inside = np.isin(owner[faces], HANGS_ON).all(axis=1)
        hidden = inside & (y.min(axis=1) > low) & (y.max(axis=1) < high)
        faces = faces[~hidden]
    centre = skin.rest[faces].mean(axis=1)
    of_face = _owner_of_faces(skin, faces)
    head = HeadBox.of(skin.rest)
    inside = measures(centre, of_face, joints, head, look)
    pattern, uv = _cloth_places(skin.rest[faces], of_face, inside, look)
    return Surface(
        np.ascontiguousarray(faces),
        _painted(centre, of_face, inside, head, look),
        _sheltered(skin.rest, skin.faces, owner),
        pattern,
        uv,
        np.zeros((0, 1, 1, 3), np.float32),
    )


def _owner_of_faces(skin: Skin, faces: NDArray[np.int32]) -> NDArray[np.int32]:
    """The joint [F] that two corners of a face belong to, or else the first one's."""
    a, b, c = skin.owner[faces].T
    return np.where(b == c, b, a)


def _painted(
    centre: Floats, owner: NDArray[np.int32], inside: Measures, head: HeadBox, look: Look
) -> Floats:
    """Linear colours [F,3] of faces with middles [F,3]."""
    colours = np.tile(look.skin, (len(centre), 1)).astype(np.float32)
    _paint_face(colours, centre, owner, head)
    colours[inside.lower > 0] = look.lower
    colours[inside.upper > 0] = look.upper
    if look.logo is not None:
        colours[(inside.logo > 0) & (inside.upper > 0)] = look.logo
    shoes = inside.shoes > 0
    colours[shoes] = look.shoes
    low = centre[:, 1].min()
    sole = shoes & (centre[:, 1] < low + SOLE_M)
    colours[sole] = colours[sole] * 0.35 + 0.02
    colours[inside.hair > 0] = look.hair
    colours[inside.hat > 0] = look.upper if look.hat_kind == "hood" else look.hat
    return colours


def _paint_face(colours: Floats, centre: Floats, owner: NDArray[np.int32], head: HeadBox) -> None:
    """Eyes and mouth as darker patches: all that a head of 30 pixels can show."""
    up, deep = head.share(centre)
    front = (owner == HEAD) & (deep < 0.3)
    x = np.abs(centre[:, 0]) / (head.high[0] - head.low[0])
    eyes = front & (np.hypot((up - 0.585) / 0.028, (x - 0.2) / 0.08) < 1)
    mouth = front & (np.hypot((up - 0.27) / 0.025, x / 0.13) < 1)
    colours[eyes] *= 0.4
    colours[mouth] *= np.array([0.8, 0.6, 0.6], np.float32)


def _sheltered(rest: Floats, faces: NDArray[np.int32], owner: NDArray[np.int32]) -> Floats:
    """Share of the light [V] that reaches what lies under the chin and between the legs."""
    normals = vertex_normals(rest, faces)
    inwards = np.clip(-np.sign(rest[:, 0]) * normals[:, 0], 0, 1)
    out = np.ones(len(rest), np.float32)
    legs = np.isin(owner, (1, 2, 4, 5))
    out[legs] -= 0.35 * inwards[legs]
    downwards = np.clip(-normals[:, 1], 0, 1)
    shaded = np.isin(owner, (12, 15, *ARM_JOINTS, 0, 1, 2))
    out[shaded] -= 0.3 * downwards[shaded]
    return np.clip(out, 0.4, 1.0).astype(np.float32)


def _cloth_places(
    corner: Floats, owner: NDArray[np.int32], inside: Measures, look: Look
) -> tuple[NDArray[np.int16], Floats]:
    """Pattern number [F] and places on the cloth [F,3,2] of faces with corners [F,3,3].

    Cloth is cut flat: front and back seen along z, sides along x, sleeves along the arm.
    """
    normal = np.abs(np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]))
    sleeve = np.isin(owner, ARM_JOINTS)
    sideways = normal[:, 0] > normal[:, 2]
    across = np.where(sideways[:, None], corner[..., 2], corner[..., 0])
    flat = np.where((normal[:, 1] > normal[:, 2])[:, None], corner[..., 2], corner[..., 1])
    across = np.where(sleeve[:, None], flat, across)
    along = np.where(sleeve[:, None], np.abs(corner[..., 0]), corner[..., 1])
    number = np.full(len(corner), PLAIN, np.int16)
    uv = np.zeros((len(corner), 3, 2), np.float32)
    hatless = inside.hat <= 0
    for place, (part, fabric) in enumerate(
        ((inside.upper, look.upper_fabric), (inside.lower, look.lower_fabric))
    ):
        here = (part > 0) & hatless & (inside.logo <= 0 if place == UPPER else True)
        number[here] = place
        uv[here] = np.stack([across[here], along[here]], axis=-1) / fabric.repeat_m
    return number, uv


def plain_surface(count: int, faces: NDArray[np.int32], colour: Floats) -> Surface:
    """A surface of one colour over `count` vertices."""
    return Surface(
        faces,
        np.tile(colour, (len(faces), 1)).astype(np.float32),
        np.ones(count, np.float32),
        np.full(len(faces), PLAIN, np.int16),
        np.zeros((len(faces), 3, 2), np.float32),
        np.zeros((0, 1, 1, 3), np.float32),
    )


def joined(surfaces: list[Surface], patterns: Floats) -> Surface:
    """Surfaces over consecutive vertices as one, with the patterns that all of them count in."""
    starts = np.cumsum([0, *(len(surface.shelter) for surface in surfaces)])
    faces = [s.faces + start for s, start in zip(surfaces, starts, strict=False)]
    return Surface(
        np.ascontiguousarray(np.concatenate(faces), np.int32),
        np.concatenate([surface.albedo for surface in surfaces]),
        np.concatenate([surface.shelter for surface in surfaces]),
        np.concatenate([surface.pattern for surface in surfaces]),
        np.ascontiguousarray(np.concatenate([surface.uv for surface in surfaces])),
        patterns,
    )
