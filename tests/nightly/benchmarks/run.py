"""Measure, print tables and promises, and draw the picture of the documentation.

``python tests/nightly/benchmarks/run.py [--quick]``
"""

from __future__ import annotations

import argparse
import sys
from html import escape
from pathlib import Path

from tables import markdown

DOCS = Path(__file__).parents[3] / "docs"


def measured(*, quick):
    """Measure everything in one run; yields tables as they come."""
    # Not at the top: the process of the server imports this module, and needs none of these.
    import inventories  # noqa: PLC0415
    import measure  # noqa: PLC0415
    from server import server  # noqa: PLC0415
    from walks import LEFT_OUT  # noqa: PLC0415

    print(*LEFT_OUT, sep="\n")
    if LEFT_OUT and not quick:
        sys.exit("Nothing is kept of a run without them: use `nox -s bench`, or pass --quick.")
    pages, rounds = (50, 3) if quick else (200, 30)
    few = 2 if quick else 4
    trip = 0.05
    tls_trip = 0.2
    with server(trip) as served:
        for size in (20, 100):
            yield measure.cpu_per_page(served, size, pages=pages, rounds=rounds)
        yield measure.ideal_trips(served, trip=trip, rounds=few)
        yield measure.page_sizes(served, trip=trip, rounds=few)
        yield measure.memory(served, 5_000, 20_000 if quick else 100_000)
        yield measure.where_time_goes(served, pages=5 * pages)
    with server(tls_trip) as served:
        yield measure.cold_tls(served, trip=tls_trip, rounds=few)
    yield measure.start_up(rounds=2 * few)
    yield inventories.compare(*((50, 1) if quick else (500, 5)))


_SVG = """\
<svg class="drawing" role="img" aria-labelledby="speed-title speed-desc" \
viewBox="0 0 480 {height}" xmlns="http://www.w3.org/2000/svg">
{style}
  <title id="speed-title">CPU of the client for a page, beside raw dicts</title>
  <desc id="speed-desc">{description}</desc>
  <g font-family="sans-serif" font-size="14" fill="var(--tcb-ink)">
{marks}
  </g>
</svg>
"""
_LEFT = 190
_WIDEST = 235
_LINE = 26
_MOST = 5  # a longer bar is cut off, or it would leave no room for the differences of the others


def drawing(sizes):
    """Draw CPU a page, each way beside the others, in the colours of the page's theme."""
    marks: list[str] = []
    top = 24
    scale = _WIDEST / _MOST
    for size, table in sizes.items():
        marks += _bars(size, table.rows, top, scale)
        top += _LINE * (len(table.rows) + 1) + 20
    description = "; ".join(
        f"pages of {size}: " + ", ".join(f"{row[0]} {row[1]:.2f}" for row in table.rows)
        for size, table in sizes.items()
    )
    lines = "\n".join(f"    {mark}" for mark in marks)
    other = (DOCS / "drawings" / "problem.svg").read_text(encoding="utf-8")
    style = other[other.index("  <style>") : other.index("  <title")].rstrip()
    return _SVG.format(height=top - 20, style=style, description=escape(description), marks=lines)


def _bars(size, rows, top, scale):
    bottom = top + _LINE * len(rows) + 8
    one = round(_LEFT + scale)
    yield f'<text x="8" y="{top}" font-weight="600">pages of {size}</text>'
    yield f'<path d="M{one} {top + 8}V{bottom}" stroke="var(--tcb-line)"/>'
    for place, (name, per_page, *_) in enumerate(rows):
        y = top + 14 + _LINE * place
        kind = "good" if name == "tcb_async" else "line"
        width = round(min(per_page, _MOST) * scale)
        yield f'<text x="{_LEFT - 8}" y="{y + 13}" text-anchor="end">{escape(name)}</text>'
        yield (
            f'<rect x="{_LEFT}" y="{y}" width="{width}" height="18" rx="3" '
            f'fill="var(--tcb-{kind})"/>'
        )
        if per_page > _MOST:
            gap = f'd="M{_LEFT + width - 16} {y + 20}l8 -22" stroke-width="4"'
            yield f'<path {gap} stroke="var(--tcb-page)"/>'
        halo = 'paint-order="stroke" stroke="var(--tcb-page)" stroke-width="6"'
        yield f'<text x="{_LEFT + width + 6}" y="{y + 13}" {halo}>{per_page:.2f}</text>'


def main():
    """Measure, print, draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a rough look; nothing is drawn")
    quick = parser.parse_args().quick
    tables = []
    for table in measured(quick=quick):
        tables.append(table)
        print(markdown(table), *table.promises, "", sep="\n")
    promises = [promise for table in tables for promise in table.promises]
    unmet = [promise for promise in promises if not promise.is_met]
    print(f"{len(promises) - len(unmet)} of {len(promises)} promises are met.", *unmet, sep="\n")
    if not quick:
        sizes = dict(zip((20, 100), tables, strict=False))
        (DOCS / "drawings" / "speed.svg").write_text(drawing(sizes))


if __name__ == "__main__":
    main()
