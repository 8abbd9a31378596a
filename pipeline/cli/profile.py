"""`profile`: how long everything takes, and what would make it faster."""

from __future__ import annotations

import argparse
import json
import platform
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from pipeline.cli.options import (
    add_config_options,
    add_metrics_option,
    add_source_options,
    common_settings,
    read_config,
    start_logging,
)
from pipeline.cli.outlets import outlets
from pipeline.cli.profiling import LiveTable, rendered_clip
from pipeline.cli.running import STOPPED_EXIT_CODE, latency_table, write_json
from pipeline.config import PipelineConfig
from pipeline.errors import ConfigError, InputError, UsageError
from pipeline.run_state import RunState
from pipeline.supervisor import run_pipeline
from pipeline.telemetry.compare import Difference, differences
from pipeline.telemetry.findings import profile_findings
from pipeline.telemetry.report import report_of
from pipeline.telemetry.sampler import Sampler, cores_allowed
from pipeline.telemetry.spans import read_spans
from pipeline.telemetry.summary import build_summary
from pipeline.telemetry.timeline import Timeline, timeline_of
from pipeline.telemetry.trace import trace_of
from stages.sink import prepare_out_dir
from stages.source.config import is_always_live, is_synthetic, public_label

HELP = "measure how long everything takes, where frames wait, and what would relieve it"
SPANS, LATENCY, TRACE, REPORT = "spans.bin", "latency.json", "trace.json", "report.html"
SYNTHETIC_RATE_HZ = 25.0
# Of a sound run so many arrows are plenty; Perfetto takes hundreds of thousands, people do not.
TRACED_FRAMES = 2000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    add_source_options(
        parser,
        "video file, camera, address, or synthetic (people who do not exist, rendered beforehand)",
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder for the report")
    parser.add_argument("--overwrite", action="store_true", help="replace a former profile")
    parser.add_argument(
        "--rate",
        type=float,
        metavar="FPS",
        help="frames a second at which a recording is played, as a camera would: what is too much "
        "is dropped. Without it every frame is taken as fast as can be (synthetic: 25)",
    )
    parser.add_argument(
        "--duration",
        type=float,
        metavar="S",
        help="seconds that are measured; a recording that is played at a rate starts over. "
        "Default: the recording's length, 60 of a camera or synthetic",
    )
    parser.add_argument(
        "--warmup",
        type=float,
        default=5.0,
        metavar="S",
        help="seconds before that are left out",
    )
    parser.add_argument("--gallery", type=Path, metavar="FILE", help="the people who are known")
    parser.add_argument("--no-video", action="store_true", help="write no annotated.mp4 meanwhile")
    parser.add_argument(
        "--compare",
        nargs=2,
        type=Path,
        metavar=("A", "B"),
        help="two folders of profiles: print them side by side, with 95 %% intervals, and stop",
    )
    add_metrics_option(parser)
    add_config_options(parser)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    if args.compare:
        console = Console()
        _print_differences(console, *args.compare)
        return 0
    console = start_logging(args.quiet)
    _check(args)
    if args.check_config:
        read_config(args, _settings(args, str(args.source)))
        return 0
    if args.out is None:
        raise UsageError("profile needs --out", hint="a folder for the report")
    prepare_out_dir(args.out, args.overwrite)
    uri = str(args.source)
    if is_synthetic(uri):
        seconds = args.warmup + (args.duration or 60.0)
        rate_hz = args.rate or SYNTHETIC_RATE_HZ
        uri = str(rendered_clip(uri, rate_hz, seconds, args.out, console, quiet=args.quiet))
    config = read_config(args, _settings(args, uri))
    assert config is not None
    paced = bool(config.stages["source"].realtime) or is_always_live(uri)
    limit_s = args.warmup + args.duration if args.duration else None
    sampler = Sampler()
    with (
        outlets(config, console, quiet=args.quiet) as tell,
        LiveTable(console, quiet=args.quiet) as table,
    ):

        def look(state: RunState) -> None:
            tell(state)
            sampler(state)
            table(state)

        state = run_pipeline(
            config, live=paced, on_progress=look, spans=args.out / SPANS, limit_s=limit_s
        )
    return _report(args, config, state, sampler, paced=paced, console=console)


def _check(args: argparse.Namespace) -> None:
    if args.source is None:
        raise ConfigError("no source was given", hint="say --source VIDEO, or --source synthetic")
    if args.rate is not None and not 0 < args.rate <= 1000:
        raise UsageError(f"--rate must lie in 0..1000 frames a second, got {args.rate:g}")
    if args.rate is not None and is_always_live(args.source):
        raise UsageError("a camera has a rate of its own", hint="leave --rate out")
    if args.duration is not None and not 0 < args.duration <= 86_400:
        raise UsageError(f"--duration must lie in 0..86400 seconds, got {args.duration:g}")
    if not 0 <= args.warmup <= 3600:
        raise UsageError(f"--warmup must lie in 0..3600 seconds, got {args.warmup:g}")


def _settings(args: argparse.Namespace, uri: str) -> dict[str, Any]:
    settings = common_settings(args) | {"source.uri": uri}
    settings["sink.out_dir"] = str(args.out / "run") if args.out else None
    settings["sink.overwrite"] = True
    synthetic = is_synthetic(str(args.source))
    if synthetic or is_always_live(uri):
        args.duration = args.duration or 60.0
    rate_hz = args.rate or (SYNTHETIC_RATE_HZ if synthetic else None)
    if is_always_live(uri):
        settings["source.live"] = True
    elif rate_hz is not None:
        settings |= {"source.live": True, "source.realtime": True, "source.rate_hz": rate_hz}
        if args.duration:
            settings["source.loop"] = True
    return {key: value for key, value in settings.items() if value is not None}


def _report(
    args: argparse.Namespace,
    config: PipelineConfig,
    state: RunState,
    sampler: Sampler,
    *,
    paced: bool,
    console: Console,
) -> int:
    records = read_spans(args.out / SPANS)
    timeline = timeline_of(records, args.warmup)
    if not len(timeline):
        raise InputError(
            f"no frame came through after the warm-up of {args.warmup:g} s",
            hint="profile for longer (--duration), or with less --warmup",
        )
    begin_ns = int(timeline.capture_ns.min())
    samples = [each for each in sampler.samples if each["at_ns"] >= begin_ns]
    summary = build_summary(state, config.to_dict())
    early = [each for each in sampler.samples if each["at_ns"] < begin_ns]
    before = early[-1]["stages"]["source"] if early else {"dropped": 0, "stale": 0}
    dropped = summary["frames_dropped"] - before["dropped"]
    asked = {
        "source": _label(args, summary),
        "rate_hz": args.rate,
        "duration_s": args.duration,
        "warmup_s": args.warmup,
    }
    findings = {
        "title": f"Profile of {asked['source']}",
        "asked": asked,
        **profile_findings(timeline, samples, cores=cores_allowed(), dropped=dropped, paced=paced),
        "drops": _drops(summary, dropped, before["stale"]),
        "incidents": summary["incidents"],
        "load_s": summary["load_s"],
        "first_frame_s": summary["first_frame_s"],
        "peak_memory_mb": summary["peak_memory_mb"],
        "facts": _facts(summary),
        "config": summary["config"],
        "samples": samples,
    }
    write_json(args.out / LATENCY, findings)
    _write(args.out / REPORT, report_of(findings, timeline, samples))
    traced = timeline_of(records[-TRACED_FRAMES:])
    _write(args.out / TRACE, json.dumps(trace_of(traced, state.pids, samples, "gaitstream")))
    if not args.quiet:
        console.print(latency_table(summary))
        console.print(findings["bottleneck"]["sentence"], markup=False, highlight=False)
        console.print(f"report in {args.out / REPORT}", markup=False, highlight=False)
    return STOPPED_EXIT_CODE if summary["outcome"] == "stopped" and not paced else 0


def _label(args: argparse.Namespace, summary: dict[str, Any]) -> str:
    """The source as it was asked for, without credentials: a rendered scene, not its clip."""
    if is_synthetic(str(args.source)):
        return public_label(str(args.source))
    return next((each["label"] for each in summary["sources"].values()), "")


def _drops(summary: dict[str, Any], dropped: int, stale_before: int) -> list[dict[str, Any]]:
    """What was left out and why; of the frames dropped, those of the warm-up are not counted."""
    stale = int(summary["stages"].get("source", {}).get("stale", 0)) - stale_before
    return [
        {
            "what": "frames",
            "count": dropped - stale,
            "reason": "a newer one came before the pipeline had room (warm-up left out)",
        },
        {
            "what": "frames",
            "count": stale,
            "reason": "they came late, out of a buffer (warm-up left out)",
        },
        {"what": "frames", "count": summary["bad_frames"], "reason": "a stage could not read them"},
        {
            "what": "messages",
            "count": summary["bad_messages"],
            "reason": "no well-formed message of ours",
        },
    ]


def _facts(summary: dict[str, Any]) -> dict[str, Any]:
    import psutil

    return {
        "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "system": platform.platform(),
        "processor": _processor(),
        "cores": f"{cores_allowed()} of {psutil.cpu_count()}",
        "memory, GB": round(psutil.virtual_memory().total / 1e9, 1),
        **summary["versions"],
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def _timeline_in(folder: Path) -> Timeline:
    try:
        warmup_s = json.loads((folder / LATENCY).read_text(encoding="utf-8"))["asked"]["warmup_s"]
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            f"{folder} holds no profile: {LATENCY} cannot be read ({error})",
            hint="name a folder that `profile --out` has written",
        ) from error
    return timeline_of(read_spans(folder / SPANS), float(warmup_s))


def _print_differences(console: Console, a: Path, b: Path) -> None:
    table = Table(title=f"A: {a}   B: {b}", title_justify="left")
    for column in ("ms", "A", "B", "B / A", "95 % interval", "B is"):
        table.add_column(column, justify="left" if column == "ms" else "right")
    for each in differences(_timeline_in(a), _timeline_in(b)):
        table.add_row(each.name, *_cells(each))
    console.print(table)


def _cells(found: Difference) -> tuple[str, ...]:
    words = {"less": "less", "more": "more", "chance": "not told apart"}
    return (
        f"{found.a:.2f}",
        f"{found.b:.2f}",
        f"{found.ratio:.2f}",
        f"{found.low:.2f} to {found.high:.2f}",
        words[found.told],
    )
