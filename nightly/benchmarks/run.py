"""Measure, print tables, and keep them: JSON, tables and a drawing for the documentation.

``python nightly/benchmarks/run.py [--quick]``
"""

from __future__ import annotations

import argparse
import json
import platform
from html import escape
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
from measure import RAW, TYPED, bytes_per_function, cpu_per_page, round_trips, where_time_goes
from rich.console import Console
from rich.markdown import Markdown

if TYPE_CHECKING:
    from measure import Costs, RoundTrips

DOCS = Path(__file__).parents[2] / "docs"
PAGE_SIZES = (20, 100)
_LEAST_SHARE = 0.01


@attrs.frozen
class Results:
    """Everything that was measured in one run."""

    costs: list[Costs]
    trips: list[RoundTrips]
    bytes_per_function: float
    parts: dict[int, dict[str, float]]


def measure(*, quick):
    """Measure everything, in one run."""
    pages, rounds = (100, 5) if quick else (200, 40)
    short, long = (5_000, 20_000) if quick else (20_000, 100_000)
    return Results(
        [cpu_per_page(size, pages=pages, rounds=rounds) for size in PAGE_SIZES],
        [
            round_trips(200, 20, latency=0.05, rounds=max(5, rounds // 4)),
            round_trips(2000, 20, latency=0.05, rounds=max(3, rounds // 8)),
        ],
        bytes_per_function(short, long),
        {size: where_time_goes(size, pages=5 * pages) for size in PAGE_SIZES},
    )


def tables(results):
    """Write all tables in Markdown."""
    return "\n\n".join(
        [
            *map(_costs_table, results.costs),
            _table(
                ("functions", "requests", "ideal round trips", "measured", "ratio"),
                (
                    (t.functions, t.requests, t.ideal, f"{t.measured:.2f}", f"{t.ratio:.3f}")
                    for t in results.trips
                ),
            ),
            f"Memory: {results.bytes_per_function:.0f} bytes for each function walked.",
            _parts_table(results.parts),
        ]
    )


def _costs_table(costs):
    rows = (
        (
            cost.name,
            f"{cost.per_page:.2f} ({cost.spread[0]:.2f}–{cost.spread[1]:.2f})",
            f"{cost.whole:.2f}",
            f"{cost.beside_typed:.2f}",
        )
        for cost in costs.ways
    )
    heads = ("way to walk", "a page, × raw dicts", "whole listing, × raw dicts", "a page, × typed")
    about = f"Pages of {costs.page_size}; one of raw dicts took {costs.base:.0f} µs in this run."
    return f"{about}\n\n{_table(heads, rows)}"


def _parts_table(parts):
    small, large = parts.values()
    shares = ((part, small.get(part, 0), large.get(part, 0)) for part in {**small, **large})
    rows = (
        (part, f"{one:.0%}", f"{other:.0%}")
        for part, one, other in shares
        if max(one, other) >= _LEAST_SHARE
    )
    return _table(("part", *(f"of the CPU, pages of {size}" for size in parts)), rows)


def _table(heads, rows):
    lines = [heads, ("---",) * len(heads), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def keep(results):
    """Write what the documentation shows."""
    about = {
        "python": platform.python_version(),
        **{name: version(name) for name in ("aiohttp", "msgspec", "attrs", "azure-core")},
    }
    text = json.dumps({"versions": about, **attrs.asdict(results)}, indent=1)
    (DOCS / "explanation" / "speed.json").write_text(text + "\n")
    (DOCS / "explanation" / "speed-results.md").write_text(tables(results) + "\n")
    (DOCS / "drawings" / "speed.svg").write_text(drawing(results.costs))


_SVG = """\
<svg class="drawing" role="img" aria-labelledby="speed-title speed-desc" \
viewBox="0 0 480 {height}" xmlns="http://www.w3.org/2000/svg">
  <title id="speed-title">CPU of the client for a page, beside raw dicts</title>
  <desc id="speed-desc">{description}</desc>
  <g font-family="var(--font-stack, sans-serif)" font-size="14" fill="var(--tcb-ink, #24292f)">
{marks}
  </g>
</svg>
"""
_LEFT, _WIDEST, _LINE = 190, 245, 26


def drawing(costs):
    """Draw CPU a page, each way beside the others, in the colours of the page's theme."""
    marks: list[str] = []
    top = 24
    scale = _WIDEST / max(cost.per_page for sizes in costs for cost in sizes.ways)
    for sizes in costs:
        marks += _bars(sizes, top, scale)
        top += _LINE * (len(sizes.ways) + 1) + 20
    description = "; ".join(
        f"pages of {sizes.page_size}: "
        + ", ".join(f"{cost.name} {cost.per_page:.2f}" for cost in sizes.ways)
        for sizes in costs
    )
    lines = "\n".join(f"    {mark}" for mark in marks)
    return _SVG.format(height=top - 20, description=escape(description), marks=lines)


def _bars(costs, top, scale):
    bottom = top + _LINE * len(costs.ways) + 8
    one = round(_LEFT + scale)
    yield f'<text x="8" y="{top}" font-weight="600">pages of {costs.page_size}</text>'
    yield f'<path d="M{one} {top + 8}V{bottom}" stroke="var(--tcb-line, #c3c9d0)"/>'
    for place, cost in enumerate(costs.ways):
        y = top + 14 + _LINE * place
        kind = "good" if cost.name == "tcb_async" else "line"
        width = round(cost.per_page * scale)
        yield f'<text x="{_LEFT - 8}" y="{y + 13}" text-anchor="end">{escape(cost.name)}</text>'
        yield (
            f'<rect x="{_LEFT}" y="{y}" width="{width}" height="18" rx="3" '
            f'fill="var(--tcb-{kind}, #07855c)"/>'
        )
        yield f'<text x="{_LEFT + width + 6}" y="{y + 13}">{cost.per_page:.2f}</text>'


TARGETS = {20: (1.05, 0.75), 100: (1.2, 0.55)}
"""By page size: the most CPU a page that ours may take, × raw dicts and × typed by hand."""


def misses(results):
    """Say which targets were not met."""
    for costs in results.costs:
        ours = costs.of("tcb_async")
        measured = (ours.per_page, ours.beside_typed)
        for name, ratio, most in zip((RAW, TYPED), measured, TARGETS[costs.page_size], strict=True):
            if ratio > most:
                yield f"pages of {costs.page_size}: {ratio:.2f} × {name}, above {most}"
    for trip in results.trips:
        if trip.ratio > 1.1:
            yield f"{trip.functions} functions: {trip.ratio:.3f} × the ideal round trips, above 1.1"
    if results.bytes_per_function > 200:
        yield f"{results.bytes_per_function:.0f} bytes for each function, above 200"


def main():
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a rough look; nothing is kept")
    quick = parser.parse_args().quick
    results = measure(quick=quick)
    console = Console()
    console.print(Markdown(tables(results)))
    for miss in misses(results):
        console.print(f"missed: {miss}", style="bold red")
    if not quick:
        keep(results)


if __name__ == "__main__":
    main()
