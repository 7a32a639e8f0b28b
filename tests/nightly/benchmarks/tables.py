"""Results of the benchmarks: tables, and promises that are met or not."""

from __future__ import annotations

import attrs


@attrs.frozen
class Promise:
    """A promise to users, and the measured figure."""

    what: str
    measured: float
    at_most: float

    @property
    def is_met(self):
        return self.measured <= self.at_most

    def __str__(self):
        verdict = "MET" if self.is_met else "NOT MET"
        return f"{verdict}: {self.what}: {self.measured:.3g}, at most {self.at_most:g}"


@attrs.frozen
class Table:
    """One table, and the promises that are about its figures."""

    about: str
    heads: tuple[str, ...]
    rows: list[tuple[object, ...]]
    promises: list[Promise] = attrs.field(factory=list)


def _cell(value):
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def markdown(table):
    """Write one table."""
    if not table.rows:
        return table.about
    lines = [table.heads, ("---",) * len(table.heads), *table.rows]
    text = "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)
    return f"{table.about}\n\n{text}".lstrip()
