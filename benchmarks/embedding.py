"""What does a gait window cost, streamed, whole, and as plain PyTorch computes it?

All tracks give a window at the same time, every `stride` frames, as they do at worst. Each figure
comes from a process of its own, which measures the plain forward in turn with ours, so that the
ratio does not depend on what else the machine does; its peak memory is that process's.

`python -m benchmarks.embedding` (all, about a quarter of an hour on 2 cores)
`python -m benchmarks.embedding --networks smplgait --tracks 1 --strides 8`
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from rich.console import Console

from benchmarks.harness import machine_facts, spread, write_results

LENGTH = 30
TRACKS = (1, 4, 16, 64)
STRIDES = (1, 4, 8, 30)
NETWORKS = ("joined", "smplgait", "smplrows", "gaitgln", "resgcn", "gei")
MB = 1e6

Case = dict[str, Any]
Result = dict[str, Any]


def main() -> None:
    """Measure, print the table, write the results."""
    args = _arguments()
    console = Console()
    results: list[Result] = []
    with tempfile.TemporaryDirectory() as folder:
        wanted = [name for name in args.networks if name != "gei" and "onnx" in args.runtimes]
        exported = {name: _export(name, Path(folder)) for name in wanted}
        for case in _cases(args):
            result = _in_own_process({**case, "exported": exported.get(case["network"])})
            results.append(result)
            console.print(_line(result), highlight=False)
    console.print(_table(results), highlight=False, soft_wrap=True)
    facts = {"machine": machine_facts(), "window": LENGTH, "threads": args.threads}
    console.print("written to", write_results("embedding", {**facts, "results": results}))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=NETWORKS)
    parser.add_argument(
        "--runtimes", nargs="+", choices=("torch", "onnx"), default=["torch", "onnx"]
    )
    parser.add_argument("--tracks", nargs="+", type=int, default=TRACKS)
    parser.add_argument("--strides", nargs="+", type=int, default=STRIDES)
    parser.add_argument("--threads", type=int, default=2, help="processor threads of the network")
    parser.add_argument("--seconds", type=float, default=3.0, help="measured time a figure, s")
    return parser.parse_args()


def _cases(args: argparse.Namespace) -> Iterator[Case]:
    """Yield all that is to be measured. How far windows are apart matters to streams only."""
    for network in args.networks:
        for runtime in ["numpy"] if network == "gei" else args.runtimes:
            for tracks in args.tracks:
                common = {"network": network, "runtime": runtime, "tracks": tracks}
                common |= {"threads": args.threads, "seconds": args.seconds}
                yield {**common, "way": "whole", "stride": None}
                if network not in ("resgcn", "gei"):
                    for stride in args.strides:
                        yield {**common, "way": "streamed", "stride": stride}


def _export(name: str, folder: Path) -> Any:
    """Export a network to ONNX and return the files."""
    from stages.embed.runtimes.onnx_export import export_onnx

    return export_onnx(_network(name), folder, name, weights_hash="0" * 16).files


def _network(name: str) -> Any:
    import torch

    from stages.embed.networks.catalogue import build_network

    torch.manual_seed(1)
    return build_network(name, {}).eval()


def _in_own_process(case: Case) -> Result:
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        return pool.apply(_measure, (case,))


def _measure(case: Case) -> Result:
    """Measure one case; runs in a process of its own."""
    import torch

    torch.set_num_threads(case["threads"])
    tick = _ours(case)
    loaded = psutil.Process().memory_info().rss
    for _ in range(3 if case["tracks"] < 64 else 2):  # the stride is known, every path warm
        tick()
    ours = _timed(tick, case["seconds"])
    peak = _peak_bytes()
    plain = _plain(case)
    plain()
    ratios, ours_ms, plain_ms = [], [s * 1e3 / case["tracks"] for s in ours], []
    for _ in range(5 if case["tracks"] < 64 else 3):
        seconds = _clock(plain)
        mine = _clock(tick) / case["tracks"]
        plain_ms.append(seconds * 1e3)
        ratios.append(seconds / mine)
    return {
        "network": case["network"],
        "runtime": case["runtime"],
        "way": case["way"],
        "tracks": case["tracks"],
        "stride": case["stride"],
        "ms_a_window": statistics.median(ours_ms),
        "windows_a_second": 1e3 / statistics.median(ours_ms),
        "ms_spread": [spread(ours_ms).low, spread(ours_ms).high],
        "plain_ms": statistics.median(plain_ms),
        "times_plain": statistics.median(ratios),
        "times_plain_spread": [spread(ratios).low, spread(ratios).high],
        "peak_mb": peak / MB,
        "beyond_loading_mb": max(0.0, (peak - loaded) / MB),
    }


def _peak_bytes() -> int:
    """Return the most memory that this process has held; Linux only.

    `getrusage` would count what the parent held when it forked.
    """
    status = Path("/proc/self/status").read_text(encoding="ascii")
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def _timed(tick: Callable[[], object], seconds: float) -> list[float]:
    """Return the seconds of each tick, over about `seconds` and at least three ticks."""
    times: list[float] = []
    while len(times) < 3 or (sum(times) < seconds and len(times) < 500):
        times.append(_clock(tick))
    return times


def _clock(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def _ours(case: Case) -> Callable[[], object]:
    """Return a function that embeds the next window of every track."""
    embedder = _embedder(case)
    walks = _Walks(case["tracks"], case["stride"] or LENGTH)
    if case["way"] == "whole":
        return lambda: embedder.embed([window for _, window in walks.windows()])
    from stages.embed.streaming import StreamingEmbedder

    stream = StreamingEmbedder(embedder, 8 << 30)
    return lambda: stream.embed(walks.windows())


def _embedder(case: Case) -> Any:
    import torch

    if case["network"] == "gei":
        from stages.embed.gei import GaitEnergyImage

        return GaitEnergyImage()
    from stages.embed.embedder import NetworkEmbedder, facts_of, torch_embedder

    network = _network(case["network"])
    if case["runtime"] == "torch":
        return torch_embedder(network, "0" * 16, torch.device("cpu"))
    from stages.embed.runtimes.onnx_runtime import OnnxRuntime

    runtime = OnnxRuntime(case["exported"], threads=case["threads"])
    return NetworkEmbedder(facts_of(network, "0" * 16), runtime)


def _plain(case: Case) -> Callable[[], object]:
    """Return the plain forward of one window."""
    import torch

    if case["network"] == "gei":
        pixels = _Walks(1, LENGTH).windows()[0][1].silhouettes
        return lambda: pixels.astype(np.float32).mean(axis=0)
    from benchmarks.plain_networks import plain_forward

    network = _network(case["network"])
    forward = plain_forward(network)
    _, window = _Walks(1, LENGTH).windows()[0]
    given = {
        "silhouettes": torch.from_numpy(window.silhouettes).float() / 255.0,
        "theta": torch.from_numpy(window.theta),
        "keypoints": torch.from_numpy(window.keypoints_px),
    }
    inputs = [given[name][None] for name in network.reads]

    def run() -> object:
        with torch.inference_mode():
            return forward(*inputs)

    return run


class _Walks:
    """Tracks that walk on and on: random pixels, each frame another."""

    def __init__(self, tracks: int, stride: int) -> None:
        rng = np.random.default_rng(1)
        self._stride = stride
        self._start = 0
        self._silhouettes = rng.integers(0, 256, (tracks, 64, 64, 44), dtype=np.uint8)
        self._theta = rng.normal(0, 0.5, (tracks, 64, 85)).astype(np.float32)
        self._keypoints = rng.uniform(0, 200, (tracks, 64, 17, 3)).astype(np.float32)

    def windows(self) -> list[tuple[tuple[str, int], Any]]:
        """Return the next window of every track, with its key."""
        from pipeline.messages import Window

        ids = np.arange(self._start, self._start + LENGTH, dtype=np.int64)
        rows = ids % 64
        self._start += self._stride
        return [
            (
                ("cam", track),
                Window(
                    track_id=track,
                    silhouettes=self._silhouettes[track, rows],
                    theta=self._theta[track, rows],
                    keypoints_px=self._keypoints[track, rows],
                    times_ns=ids * 40_000_000,
                    frame_ids=ids,
                    quality=1.0,
                    left_out=0,
                ),
            )
            for track in range(len(self._silhouettes))
        ]


def _line(result: Result) -> str:
    return (
        f"{result['network']} {result['runtime']} {result['way']} tracks {result['tracks']} "
        f"stride {result['stride']}: {result['ms_a_window']:.3g} ms a window, "
        f"{result['times_plain']:.1f} times plain, peak {result['peak_mb']:.0f} MB"
    )


def _table(results: list[Result]) -> str:
    """Return the results in Markdown."""
    lines = [
        "| network | runtime | way | tracks | stride | windows/s | ms a window | plain, ms "
        "| times plain | peak, MB |",
        "|---|---|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for row in results:
        low, high = row["times_plain_spread"]
        cells = (
            *(row["network"], row["runtime"], row["way"], row["tracks"], row["stride"] or "any"),
            *(f"{row['windows_a_second']:.3g}", f"{row['ms_a_window']:.3g}"),
            *(f"{row['plain_ms']:.3g}", f"{row['times_plain']:.1f} ({low:.1f}–{high:.1f})"),
            f"{row['peak_mb']:.0f}",
        )
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
