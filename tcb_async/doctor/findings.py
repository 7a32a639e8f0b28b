"""One line of a report.

Rule: `differs` means that a command fails or is wrong. Anything else is a fact.
"""

from __future__ import annotations

from typing import Literal

import attrs

SEND = "please send this report"
AGAIN = "run `tcb-async doctor` again later"
QUIET = "run it again while nothing is deployed"


@attrs.frozen
class Finding:
    """The result of one check.

    Attributes:
        name: A short name of the check, such as ``page_size``.
        check: What was checked.
        verdict: ``ok``: commands work. ``differs``: a command fails or is wrong. ``unknown``:
            neither was seen twice. ``fact``: no command depends on it.
        observed: What was observed, and what this library assumes if that is different.
        advice: What to do, if there is anything to do.
    """

    name: str
    check: str
    verdict: Literal["ok", "differs", "unknown", "fact"]
    observed: str
    advice: str = ""


@attrs.frozen
class Check:
    """The subject of a line, which makes its finding."""

    name: str
    text: str

    def ok(self, observed: str) -> Finding:
        """Commands work."""
        return Finding(self.name, self.text, "ok", observed)

    def differs(self, observed: str, advice: str) -> Finding:
        """A command fails or is wrong."""
        return Finding(self.name, self.text, "differs", observed, advice)

    def unknown(self, observed: str, advice: str = AGAIN) -> Finding:
        """Neither was seen."""
        return Finding(self.name, self.text, "unknown", observed, advice)

    def fact(self, observed: str, assumed: str = "", advice: str = "") -> Finding:
        """No command depends on it."""
        differs = assumed not in {"", observed}
        text = f"observed {observed}; assumed {assumed}" if differs else observed
        return Finding(self.name, self.text, "fact", text, advice)
