"""Inputs and findings of a fuzz."""

from __future__ import annotations

from collections import Counter

import attrs

__all__ = ["Report"]

MOST_FINDINGS = 20


@attrs.define
class Report:
    """The account of one run.

    Attributes:
        what: The name of the inputs.
        inputs: How many inputs there were.
        seconds: How long they took.
        outcomes: The number of results, by kind.
        slowest: Seconds that the slowest input took.
        findings: A sentence for each wrong result; the first 20.
    """

    what: str
    inputs: int = 0
    seconds: float = 0.0
    outcomes: Counter[str] = attrs.field(factory=Counter[str])
    slowest: float = 0.0
    findings: list[str] = attrs.field(factory=list[str])

    def found(self, what):
        if len(self.findings) < MOST_FINDINGS:
            self.findings.append(what)

    def __str__(self):
        rate = self.inputs / max(self.seconds, 1e-9)
        outcomes = ", ".join(f"{kind} {times:,}" for kind, times in self.outcomes.most_common())
        pace = f"{rate:,.0f} a second, the slowest in {self.slowest * 1000:.1f} ms"
        lines = [
            f"{self.what}: {self.inputs:,} inputs in {self.seconds:.1f} s, {pace}",
            f"  came out: {outcomes}",
            f"  found: {len(self.findings) or 'nothing'}",
        ]
        return "\n".join(lines + [f"    {finding}" for finding in self.findings])
