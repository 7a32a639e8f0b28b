"""Write the tables of errcodes, and the drawings in Chinese: `python docs/generate`.

A table stands between ``<!-- generated: KIND WORDS -->`` and ``<!-- /generated -->``. The kind is
``errcodes``, ``token-errcodes`` or ``tcb-codes``, followed by ``chinese`` for the table in Chinese.
A test fails while a page differs from the rows of `tcb_async.errcodes`.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

if __name__ == "__main__":  # the checkout, and no installed package
    sys.path.insert(0, str(Path(__file__).parents[2]))

import chinese

from tcb_async.cli.explain import handling
from tcb_async.errcodes import ERRCODES, TCB_CODES, TOKEN_ENDPOINT_ERRCODES, Code

ROOT = Path(__file__).parents[2]
_COLUMNS = ("raised as", "what to do")
_HEADS = (
    ("errcode", *_COLUMNS),
    ("TcbCode begins with", *_COLUMNS),
)
_HANDLED = {
    "retries": " after retries",
    "replays": " after fresh tokens and two replays",
    "raises": "",
}
_BLOCK = re.compile(r"(<!-- generated: ([\w ./+-]+) -->\n).*?(<!-- /generated -->)", re.DOTALL)


def rewritten(page: str) -> str:
    """Return a page with its generated parts up to date."""
    return _BLOCK.sub(lambda part: f"{part[1]}\n{_written(*part[2].split())}\n\n{part[3]}", page)


def _written(kind: str, *words: str) -> str:
    writers: dict[str, Callable[..., str]] = {
        "errcodes": partial(_codes, ERRCODES.values(), "EVERYWHERE"),
        "token-errcodes": partial(_codes, TOKEN_ENDPOINT_ERRCODES.values(), "AT_TOKEN_ENDPOINTS"),
        "tcb-codes": partial(_codes, TCB_CODES.values(), "TCB_CODES"),
    }
    return writers[kind](*words)


def _codes(rows: Iterable[Code], table: str, language: str = "") -> str:
    """Tabulate errcodes, or TcbCodes; ``table`` has their words in ``chinese.py``."""
    heads = chinese.HEADS if language == "chinese" else _HEADS
    groups: dict[tuple[str, ...], dict[str, list[str]]] = {}
    for row in sorted(rows, key=_order):
        meaning = row.meaning
        advice = row.advice
        handled = _HANDLED[handling(row)]
        if language == "chinese":
            # A new code is shown in English until it has Chinese words.
            meaning, advice = getattr(chinese, table).get(row.code, (meaning, advice))
            handled = chinese.HANDLED[handling(row)]
        group = groups.setdefault((f"`{row.error.__name__}`{handled}", advice), {})
        group.setdefault(meaning, []).append(f"`{row.code}`")
    cells = [
        ("<br>".join(f"{', '.join(codes)} {meaning}" for meaning, codes in group.items()), *words)
        for words, group in groups.items()
    ]
    return _table(heads[table == "TCB_CODES"], *cells)


def _order(row: Code) -> tuple[bool, int, str]:
    """Sort WeChat's own errcodes before those of the cloud, and TcbCodes by name."""
    if isinstance(row.code, str):
        return False, 0, row.code.lower()
    return row.code < 0, abs(row.code), ""


def _table(*rows: tuple[str, ...]) -> str:
    lines = [" | ".join(cell.replace("|", "\\|") for cell in row) for row in rows]
    lines.insert(1, " | ".join("---" for _ in rows[0]))
    return "\n".join(f"| {line} |" for line in lines)


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
