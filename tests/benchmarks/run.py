"""Measure, print a table, and keep it: JSON, a table and a plot for the documentation.

``python tests/benchmarks/run.py [--quick]``
"""

from __future__ import annotations

import argparse
import json
import platform
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import matplotlib as mpl
from measure import bytes_per_function, cpu_per_page, round_trips, where_time_goes
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from measure import Cost, RoundTrips

DOCS = Path(__file__).parents[2] / "docs" / "explanation"
PAGE_SIZES = (20, 100)


@attrs.frozen
class Results:
    """Everything that was measured in one run."""

    costs: dict[int, list[Cost]]
    trips: list[RoundTrips]
    grown: float
    rooms: dict[int, dict[str, float]]


def measure(*, quick: bool) -> Results:
    """Measure everything, in one run."""
    pages, rounds, functions = (100, 3, 60_000) if quick else (400, 15, 300_000)
    return Results(
        {size: cpu_per_page(size, pages=pages, rounds=rounds) for size in PAGE_SIZES},
        [
            round_trips(200, 20, latency=0.05, rounds=rounds),
            round_trips(2000, 20, latency=0.05, rounds=max(3, rounds // 3)),
        ],
        bytes_per_function(functions),
        {size: where_time_goes(size, pages=4 * pages) for size in PAGE_SIZES},
    )


def show(results: Results, console: Console) -> None:
    """Print the tables."""
    for size, costs in results.costs.items():
        heads = ("way to walk", "µs CPU a page", "a page, × (a)", "whole listing, × (a)")
        table = Table(*heads, title=f"pages of {size}")
        for cost in costs:
            ratios = (f"{cost.per_page:.2f}", f"{cost.whole:.2f}")
            table.add_row(cost.name, f"{cost.microseconds:.0f}", *ratios)
        console.print(table)
    table = Table("functions", "requests", "ideal round trips", "measured", "ratio")
    for trip in results.trips:
        row = (
            trip.functions,
            trip.requests,
            trip.ideal,
            f"{trip.measured:.2f}",
            f"{trip.ratio:.3f}",
        )
        table.add_row(*map(str, row))
    console.print(table)
    console.print(f"memory: {results.grown:.1f} bytes a function walked")
    for size, rooms in results.rooms.items():
        table = Table("room", "µs CPU a page", title=f"where the time goes, pages of {size}")
        for room, spent in rooms.items():
            table.add_row(room, f"{spent:.0f}")
        console.print(table)


def keep(results: Results) -> None:
    """Write what the documentation shows."""
    about = {
        "python": platform.python_version(),
        **{name: version(name) for name in ("aiohttp", "msgspec", "attrs", "azure-core")},
    }
    text = json.dumps({"versions": about, **attrs.asdict(results)}, indent=1)
    (DOCS / "speed.json").write_text(text + "\n")
    lines = ["| way to walk | pages of 20 | pages of 100 |", "|---|---|---|"]
    for small, large in zip(*results.costs.values(), strict=True):
        figures = (
            f"{c.per_page:.2f} ({c.microseconds:.0f} µs), whole {c.whole:.2f}"
            for c in (small, large)
        )
        lines.append(f"| {small.name} | " + " | ".join(figures) + " |")
    lines += [
        "",
        "| functions | requests | ideal round trips | measured | ratio |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {t.functions} | {t.requests} | {t.ideal} | {t.measured:.2f} | {t.ratio:.3f} |"
        for t in results.trips
    ]
    lines += ["", f"Memory: {results.grown:.1f} bytes a function walked."]
    for size, rooms in results.rooms.items():
        lines += ["", f"| room (pages of {size}) | µs CPU a page |", "|---|---|"]
        lines += [f"| {room} | {spent:.0f} |" for room, spent in rooms.items() if spent >= 1]
    (DOCS / "speed-results.md").write_text("\n".join(lines) + "\n")
    plot(results)


def plot(results: Results) -> None:
    """Draw CPU a page, each way beside the others."""
    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "tcb-async"
    from matplotlib import pyplot as plt  # noqa: PLC0415 - only after the backend is chosen

    figure, axes = plt.subplots(1, len(results.costs), figsize=(9, 3), sharey=True)
    for axis, (size, costs) in zip(axes, results.costs.items(), strict=True):
        names = [cost.name for cost in costs]
        colours = ["#2a7" if cost.name == "tcb_async" else "#999" for cost in costs]
        bars = axis.barh(names, [cost.per_page for cost in costs], color=colours)
        axis.bar_label(bars, fmt="%.2f", padding=3)
        axis.axvline(1.0, color="#444", linewidth=0.8, linestyle=":")
        axis.set_title(f"CPU a page of {size}, × (a)")
        axis.margins(x=0.15)
    axes[0].invert_yaxis()
    figure.tight_layout()
    figure.savefig(DOCS / "speed.svg", metadata={"Date": None})


def main() -> None:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a rough look; nothing is kept")
    quick = parser.parse_args().quick
    results = measure(quick=quick)
    show(results, Console())
    if not quick:
        keep(results)


if __name__ == "__main__":
    main()
