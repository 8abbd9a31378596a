"""Writes the table of docs/metrics.md from the metrics; a test looks whether it has gone stale."""

from __future__ import annotations

from pathlib import Path

from pipeline.telemetry.metric_table import METRICS

TARGET = Path(__file__).resolve().parents[1] / "docs" / "metrics.md"
BEGIN, END = "<!-- written by scripts/write_metrics_table.py -->\n", "<!-- end of the table -->\n"


def page(text: str) -> str:
    """Return a page with the table between its two marks anew; ValueError without the marks."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page has no marks for the table: {BEGIN!r} and {END!r}")
    rows = "".join(
        f"| `{_shown(spec.series, spec.kind)}` | {spec.kind} "
        f"| {', '.join(f'`{label}`' for label in spec.labels)} | {spec.told} |\n"
        for spec in METRICS
    )
    head = "| metric | kind | labels | meaning |\n|---|---|---|---|\n"
    return f"{before}{begin}{head}{rows}{end}{after}"


def _shown(series: tuple[str, ...], kind: str) -> str:
    return series[0].removesuffix("_bucket") if kind == "histogram" else series[0]


def main() -> None:
    """Write the page."""
    TARGET.write_text(page(TARGET.read_text(encoding="utf-8")), encoding="utf-8")
    print(f"wrote {TARGET}")


if __name__ == "__main__":
    main()
