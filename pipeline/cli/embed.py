"""`embed`: vectors of stored silhouette sequences, without any video."""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from pipeline.cli.options import printable
from pipeline.errors import InputError, UsageError
from stages.embed.config import NETWORKS, RUNTIMES, Config
from stages.embed.interface import Embedder
from stages.embed.loading import load_embedder
from stages.embed.sequences import MAX_FRAMES, find_sequences, read_sequence

# What is read for a network that looks at no silhouettes; their number says how many frames.
SILHOUETTE_HW = (64, 44)

HELP = "turn stored silhouette sequences into vectors (.npz)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.description = (
        f"{HELP}. A sequence is a folder with PNG masks of any size, or with sils.npy or one .pkl "
        "of aligned uint8 [T,H,H], H 64 or 128; beside it optionally smpls.npy [T,85] and "
        f"keypoints.npy [T,17,3]. One vector a sequence, from its first {MAX_FRAMES} frames."
    )
    parser.add_argument(
        "--silhouettes", type=Path, required=True, metavar="DIR", help="folder of sequences"
    )
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="FILE.npz",
        help="result: names [N] and embeddings float32 [N,c,p]; replaced if it exists",
    )
    parser.add_argument(
        "--network",
        choices=NETWORKS,
        default="gei",
        help="gei: mean silhouette, needs no weights; smplgait: silhouettes and bodies; gaitgln: "
        "silhouettes; resgcn: keypoints; smplrows: bodies; joined: what its members read",
    )
    parser.add_argument(
        "--weights",
        type=Path,
        metavar="FILE",
        help="the network's weights: .safetensors, or OpenGait's .pt",
    )
    parser.add_argument(
        "--height",
        type=int,
        choices=(64, 128),
        help="silhouettes' height, pixels, for a .pt that does not tell it",
    )
    parser.add_argument(
        "--runtime", choices=RUNTIMES, default="auto", help="what runs the network; auto: the best"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument(
        "--no-smpl",
        action="store_true",
        help="let networks that read silhouettes too do without SMPL rows",
    )


def run(args: argparse.Namespace) -> int:
    """Embed every sequence; 0 if at least one could be embedded, 1 if none.

    Raises:
        UsageError: options that do not go together, or an output that cannot be written.
        InputError, WeightsError: the folder or the weights cannot be used.
    """
    if args.network == "gei" and args.weights is not None:
        raise UsageError("--network gei takes no weights", hint="Give --network NAME too.")
    if args.out.is_dir() or not args.out.parent.is_dir():
        raise UsageError(f"cannot write {args.out}: its folder must exist and it must be a file")
    console = Console(stderr=True, highlight=False)
    folders = find_sequences(args.silhouettes)
    options = {
        "network": args.network,
        "weights": args.weights,
        "height": args.height,
        "runtime": args.runtime,
        "device": args.device,
        "use_smpl": not args.no_smpl,
    }
    embedder = load_embedder(Config.model_validate(options))
    names, vectors, skipped = _embed_all(args.silhouettes, folders, embedder, console)
    if not names:
        _say(console, f"none of {len(folders)} sequences could be embedded")
        return 1
    _write(args.out, names, np.stack(vectors), embedder)
    how = f"{embedder.name} ({embedder.describe()['runtime']})"
    summary = f"{len(names)} sequences embedded with {how}, {skipped} skipped: {args.out}"
    _say(console, summary)
    return 0


def _say(console: Console, text: str) -> None:
    """Print text in which names of files occur."""
    console.print(printable(text), markup=False, soft_wrap=True)


def _embed_all(
    root: Path, folders: list[Path], embedder: Embedder, console: Console
) -> tuple[list[str], list[np.ndarray], int]:
    """Return names, vectors and how many sequences were skipped."""
    names: list[str] = []
    vectors: list[np.ndarray] = []
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console) as progress:
        for folder in progress.track(folders, description="sequences"):
            name = root.resolve().name if folder == root else folder.relative_to(root).as_posix()
            try:
                sequence = read_sequence(folder, name, embedder.silhouette_hw or SILHOUETTE_HW)
                vector = embedder.embed([sequence])[0]
                if not np.isfinite(vector).all():
                    raise InputError("its vector holds numbers that are not finite")
            except (InputError, OSError) as error:
                _say(console, f"skipped {name}: {error}")
                continue
            for note in sequence.notes:
                _say(console, f"{name}: {note}")
            names.append(name)
            vectors.append(vector)
    return names, vectors, len(folders) - len(names)


def _write(path: Path, names: list[str], vectors: np.ndarray, embedder: Embedder) -> None:
    """Write the result, all or nothing."""
    try:
        handle, part_name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from error
    part = Path(part_name)
    try:
        with os.fdopen(handle, "wb") as file:
            np.savez(
                file,
                names=np.array(names),
                embeddings=vectors,  # [N,c,p]
                network=np.array(embedder.name),
                weights_hash=np.array(embedder.weights_hash),
                runtime=np.array(embedder.describe()["runtime"]),
            )
        part.chmod(0o644)
        part.replace(path)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from error
    finally:
        part.unlink(missing_ok=True)
