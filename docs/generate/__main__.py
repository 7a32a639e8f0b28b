"""Write the tables of errcodes, and the drawings in Chinese: `python docs/generate`.

The tables stand between ``<!-- generated: LANGUAGE -->`` and ``<!-- /generated -->``. A test fails
while a page differs from the rows of `tcb_async.errcodes`.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

if __name__ == "__main__":  # the checkout, and no installed package
    sys.path.insert(0, str(Path(__file__).parents[2]))

import chinese

from tcb_async.errcodes import ERRCODES, TCB_CODES, TOKEN_ENDPOINT_ERRCODES, Code

ROOT = Path(__file__).parents[2]
_HEADS = ("code", "remedy")
_WHEN_FETCHING = "when fetching a token: "
_BLOCK = re.compile(r"(<!-- generated: (\w+) -->\n).*?(<!-- /generated -->)", re.DOTALL)


def rewritten(page: str) -> str:
    """Return a page with its generated parts up to date."""
    return _BLOCK.sub(lambda part: f"{part[1]}\n{_write_tables(part[2])}\n{part[3]}", page)


def _write_tables(language: str) -> str:
    """Write a table for each exception, in which codes with the same advice share a row."""
    heads = chinese.HEADS if language == "chinese" else _HEADS
    exceptions: dict[str, dict[str, dict[str, list[str]]]] = {}
    for row, meaning, advice in _read_rows(language):
        advices = exceptions.setdefault(row.error.__name__, {})
        advices.setdefault(advice, {}).setdefault(meaning, []).append(f"`{row.code}`")
    lines = []
    for name, advices in exceptions.items():
        lines += [f"### {name}", "", _join_cells(*heads), _join_cells(*("---" for _ in heads))]
        for advice, meanings in advices.items():
            codes = [f"{', '.join(codes)} {meaning}" for meaning, codes in meanings.items()]
            lines.append(_join_cells("<br>".join(codes), advice))
        lines.append("")
    return "\n".join(lines)


def _read_rows(language: str) -> Iterator[tuple[Code, str, str]]:
    """Yield each code with its meaning and its advice, in the language of the page."""
    # A new code is shown in English until it has Chinese words.
    words = chinese.WORDS if language == "chinese" else {}
    words_of_tokens = chinese.WHEN_FETCHING_TOKENS if language == "chinese" else {}
    when_fetching = chinese.WHEN_FETCHING if language == "chinese" else _WHEN_FETCHING
    for row in sorted([*ERRCODES.values(), *TCB_CODES.values()], key=_order):
        yield row, *words.get(row.code, (row.meaning, row.advice))
    for row in TOKEN_ENDPOINT_ERRCODES.values():
        meaning, advice = words_of_tokens.get(row.code, (row.meaning, row.advice))
        yield row, when_fetching + meaning, advice


def _order(row: Code) -> tuple[bool, bool, int, str]:
    """Sort WeChat's own errcodes before those of the cloud, and TcbCodes by name."""
    if isinstance(row.code, str):
        return True, True, 0, row.code.lower()
    return False, row.code < 0, abs(row.code), ""


def _join_cells(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def drawings() -> dict[Path, str]:
    """Return the drawings in Chinese: each text is the ``data-zh`` of the drawing in English."""
    return {
        path.parent / "zh" / path.name: re.sub(
            r' data-zh="([^"]*)">[^<]*', r">\1", path.read_text(encoding="utf-8")
        )
        for path in (ROOT / "docs" / "drawings").glob("*.svg")
        if "data-zh" in path.read_text(encoding="utf-8")
    }


def main() -> None:
    """Write every page and drawing again that differs from its sources."""
    for path, drawing in drawings().items():
        path.write_text(drawing, encoding="utf-8")
    for path in ROOT.glob("docs/**/errcodes.md"):
        page = path.read_text(encoding="utf-8")
        if (now := rewritten(page)) != page:
            path.write_text(now, encoding="utf-8")


if __name__ == "__main__":
    main()
