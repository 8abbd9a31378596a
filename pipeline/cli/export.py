"""`export`: a trained network as ONNX files, and as TensorRT engines."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from pipeline.cli.options import printable, start_logging
from pipeline.errors import UsageError
from stages.embed.config import NETWORKS

if TYPE_CHECKING:
    from stages.embed.networks.interface import GaitNetwork
    from stages.embed.runtimes.exported_files import ExportedFiles
    from stages.embed.runtimes.onnx_export import Export
    from stages.embed.runtimes.tensorrt_builder import Engine

HELP = "write a network as ONNX files, and as TensorRT engines"

# Made of numpy: there is nothing to export.
NOT_EXPORTED = ("gei",)
MAX_BATCH = 4096
WORDS_SHOWN = 6


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.description = (
        f"{HELP}: W.frames.onnx (what is computed once for each frame; networks that pool) and "
        "W.head.onnx (the rest) for weights W.safetensors. The files are run beside torch and kept "
        "only if their numbers agree. The runtimes onnx and tensorrt look for them beside the "
        "weights."
    )
    parser.add_argument(
        "--network",
        choices=[name for name in NETWORKS if name not in NOT_EXPORTED],
        required=True,
        help="what the weights are of",
    )
    parser.add_argument(
        "--weights",
        type=Path,
        required=True,
        metavar="FILE",
        help="the weights: .safetensors, or OpenGait's .pt",
    )
    parser.add_argument(
        "--height",
        type=int,
        choices=(64, 128),
        help="silhouettes' height, pixels, for a .pt that does not tell it",
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="where to write; default: beside the weights"
    )
    parser.add_argument(
        "--precision",
        choices=("float32", "float16"),
        default="float32",
        help="of weights and arithmetic; float16 files are named W.fp16.*",
    )
    parser.add_argument(
        "--no-smpl",
        action="store_true",
        help="export smplgait or joined as it is without bodies; files are named W.no-smpl.*",
    )
    group = parser.add_argument_group("TensorRT")
    group.add_argument(
        "--engine",
        action="store_true",
        help="build the engines too; the first run on a GPU would do the same",
    )
    group.add_argument(
        "--engine-cache",
        type=Path,
        metavar="DIR",
        help="folder for engines, yours alone; default: gaitstream/engines in the user's cache",
    )
    group.add_argument(
        "--max-batch",
        type=int,
        default=128,
        metavar="N",
        help="frames in one run of an engine, 1 to 4096; more frames take several runs, and the "
        "runtime expects the default",
    )
    parser.add_argument("--quiet", action="store_true", help="warnings and errors only")


def run(args: argparse.Namespace) -> int:
    """Export, check, and build engines if asked to. Returns 0.

    Raises:
        UsageError: options that do not go together, or an output that cannot be written.
        WeightsError: the weights cannot be used, or their export differs from torch.
        ConfigError: onnx or TensorRT is not installed, or TensorRT cannot build an engine.
    """
    _check(args)
    console = start_logging(args.quiet)
    from stages.embed.checkpoint import load_any
    from stages.embed.networks.interface import THETA
    from stages.embed.runtimes.exported_files import stem_of
    from stages.embed.runtimes.onnx_export import export_onnx, require_onnx

    require_onnx()
    network, weights_hash = load_any(args.weights, args.network, args.height)
    if args.no_smpl and not network.needs_no_bodies:
        raise UsageError(
            f"--no-smpl: {args.network} with these weights reads "
            + ("nothing but bodies" if THETA in network.reads else "no bodies anyway")
        )
    folder = args.out or args.weights.parent
    exported = export_onnx(
        network,
        folder,
        stem_of(args.weights, args.precision, not args.no_smpl),
        weights_hash=weights_hash,
        use_smpl=not args.no_smpl,
        precision=args.precision,
    )
    _report(exported, console)
    if args.engine:
        _engines(args, network, exported.files, console)
    return 0


def _check(args: argparse.Namespace) -> None:
    if args.out is not None and not args.out.is_dir():
        raise UsageError(f"--out {args.out}: there is no such folder")
    if not 1 <= args.max_batch <= MAX_BATCH:
        raise UsageError(f"--max-batch must lie within 1 and {MAX_BATCH}, got {args.max_batch}")
    if args.engine_cache is not None and not args.engine:
        raise UsageError("--engine-cache is for --engine", hint="Give --engine too.")


def _report(exported: Export, console: Console) -> None:
    for part, path in exported.files.parts().items():
        operators = exported.operators[part]
        counts = ", ".join(f"{name} {count}" for name, count in operators.items())
        _say(console, f"{part}: {path}, {path.stat().st_size:,} bytes")
        _say(console, f"  {sum(operators.values())} operators: {counts}")
    _say(
        console,
        "largest difference between ONNX Runtime and torch float32, as a share of the largest "
        f"number: {exported.differences}",
    )


def _engines(
    args: argparse.Namespace, network: GaitNetwork, files: ExportedFiles, console: Console
) -> None:
    """Build every part's engine, or find it built, and run them if there is a GPU."""
    import torch

    from stages.embed.runtimes.engine_cache import EngineCache
    from stages.embed.runtimes.exported_files import read_parts
    from stages.embed.runtimes.parity import differences
    from stages.embed.runtimes.tensorrt_builder import Limits, engine_for, gpu_of
    from stages.embed.runtimes.tensorrt_module import find_tensorrt
    from stages.embed.runtimes.tensorrt_runtime import TensorRTRuntime

    tensorrt = find_tensorrt()
    device = torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
    cache = EngineCache(args.engine_cache)
    limits = Limits(frames=args.max_batch)
    for part, file in read_parts(files).items():
        engine = engine_for(tensorrt, file, limits, gpu_of(device), cache)
        _say(console, f"{part} engine of {tensorrt}: {_engine_text(engine)}")
        for line in engine.built.words[-WORDS_SHOWN:] if engine.built else ():
            _say(console, f"  TensorRT: {line}")
    if device.type != "cuda":
        _say(console, "the engines are built but were not run: there is no CUDA device")
        return
    runtime = TensorRTRuntime(files, device=device, limits=limits, cache=cache)
    found = differences(runtime, network, not args.no_smpl)
    _say(console, f"largest difference between TensorRT and torch float32: {found}")


def _engine_text(engine: Engine) -> str:
    where = engine.path or "not kept"
    if engine.built is None:
        return f"built earlier, {len(engine.plan):,} bytes, {where}"
    return (
        f"{engine.built.layers} layers, {len(engine.plan):,} bytes, built in "
        f"{engine.built.seconds:.1f} s, {where}"
    )


def _say(console: Console, text: str) -> None:
    """Print text in which names of files occur."""
    console.print(printable(text), markup=False, soft_wrap=True)
