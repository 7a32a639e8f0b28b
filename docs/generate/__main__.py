"""Write the parts of the pages that come from the package: `python docs/generate`.

A part stands between ``<!-- generated: KIND WORDS -->`` and ``<!-- /generated -->``:

==============================  ==================================================================
kind and words                  content
==============================  ==================================================================
``api MODULE NAME …``           signatures and docstrings of public names
``commands``                    the commands of ``tcb-async``; with ``chinese``, in Chinese
``errcodes``, ``token-errcodes``  the tables of errcodes; with ``chinese``, in Chinese
``tcb-codes``                   the table of TcbCodes; with ``chinese``, in Chinese
``retried``                     the errcodes that are retried; with ``chinese``, in Chinese
``core PROGRAM NAME …``         functions and classes of an example program
``requirements``                the lowest versions of the dependencies
``tree``                        the modules of the package
``layers``                      the layers of the package, as ``pyproject.toml`` checks them
``changelog``                   the changelog of the repository
``exceptions``                  the tree of exceptions
==============================  ==================================================================

A test fails while a page differs from its sources.
"""

from __future__ import annotations

import ast
import io
import os
import re
import sys
import tomllib
from contextlib import redirect_stdout, suppress
from functools import partial
from pathlib import Path
from textwrap import dedent
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

if __name__ == "__main__":  # the checkout, which `reference` reads, and no installed package
    sys.path.insert(0, str(Path(__file__).parents[2]))

import chinese
from reference import ROOT, reference

from tcb_async import exceptions
from tcb_async.cli.app import run
from tcb_async.cli.explain import handling
from tcb_async.errcodes import (
    ERRCODES,
    MINUTE_QUOTA,
    TCB_CODES,
    TOKEN_ENDPOINT_ERRCODES,
    Code,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

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
_REACTIONS = {
    "SystemBusyError": ("the service is busy", "retries"),
    "RateLimitError": ("too many calls just now", "retries"),
    "minute": ("too many calls this minute", "retries after 15 to 20 s"),
    "replays": (
        "the token is stale",
        "gets a fresh token from the provider, and sends the request again, at most twice",
    ),
    "raises": ("every other errcode", "raises immediately"),
}
"""What a code means, and the reaction of the client, by the kinds of `_reaction_to`."""
_BLOCK = re.compile(r"(<!-- generated: ([\w ./+-]+) -->\n).*?(<!-- /generated -->)", re.DOTALL)


def rewritten(page: str) -> str:
    """Return a page with its generated parts up to date."""
    return _BLOCK.sub(lambda part: f"{part[1]}\n{_written(*part[2].split())}\n\n{part[3]}", page)


def _written(kind: str, *words: str) -> str:
    writers: dict[str, Callable[..., str]] = {
        "api": reference,
        "commands": _commands,
        "core": _core,
        "exceptions": _exceptions,
        "errcodes": partial(_codes, ERRCODES.values(), "EVERYWHERE"),
        "requirements": _requirements,
        "retried": _retried,
        "tcb-codes": partial(_codes, TCB_CODES.values(), "TCB_CODES"),
        "token-errcodes": partial(_codes, TOKEN_ENDPOINT_ERRCODES.values(), "AT_TOKEN_ENDPOINTS"),
        "tree": _tree,
        "layers": _layers,
        "changelog": _changelog,
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


def _retried(language: str = "") -> str:
    """Tabulate the errcodes that are not raised immediately, as ``explain`` has them."""
    is_chinese = language == "chinese"
    reactions = chinese.REACTIONS if is_chinese else _REACTIONS
    codes: dict[str, list[str]] = {kind: [] for kind in reactions}
    for row in sorted(ERRCODES.values(), key=_order):
        if (kind := _reaction_to(row)) != "raises":
            codes[kind].append(str(row.code))
    heads = chinese.REACTION_HEADS if is_chinese else ("errcode", "meaning", "reaction")
    rows = [
        (", ".join(codes[kind]), meaning, reaction) if codes[kind] else (meaning, "", reaction)
        for kind, (meaning, reaction) in reactions.items()
    ]
    return _table(heads, *rows)


def _reaction_to(row: Code) -> str:
    """Return the kind of an errcode: a key of `_REACTIONS`."""
    if row.code == MINUTE_QUOTA:
        return "minute"
    handled = handling(row)
    return row.error.__name__ if handled == "retries" else handled


def _commands(language: str = "") -> str:
    """Tabulate the commands, from the help of a terminal so wide that no line is broken."""
    shown = io.StringIO()
    settings = {"COLUMNS": "200", "TERM": "dumb"}
    with patch.dict(os.environ, settings, clear=True), redirect_stdout(shown), suppress(SystemExit):
        run(["--help"])
    rows = re.findall(r"^│ (\w+) +(.+?) +│$", shown.getvalue(), re.MULTILINE)
    head = ("command", "purpose")
    if language == "chinese":
        head = chinese.COMMAND_HEADS
        rows = [(name, *chinese.COMMANDS.get(name, (purpose,))) for name, purpose in rows]
    return _table(head, *((f"`{name}`", purpose) for name, purpose in rows))


def _tree() -> str:
    """List the modules of the package with the first sentence of each."""
    package = ROOT / "tcb_async"
    rows = [("module", "subject")]
    for path in sorted(package.rglob("*.py"), key=lambda path: (len(path.parts), path.parts)):
        sentence = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        first = re.split(r"(?<=\.)\s|\n\n", sentence)[0].replace("\n", " ").replace("``", "`")
        if path.name != "__init__.py":
            rows.append((f"`{path.relative_to(package).as_posix()}`", first))
    return _table(*rows)


def _exceptions() -> str:
    """Show the tree of exceptions in their module's docstring, which a test checks."""
    tree = dedent(str(exceptions.__doc__).partition("::\n\n")[2])
    return f"```text\n{tree.rstrip()}\n```"


def _changelog() -> str:
    """Copy the changelog, without its title."""
    return (ROOT / "CHANGELOG.md").read_text(encoding="utf-8").partition("\n\n")[2].rstrip()


def _layers() -> str:
    """List the layers of the package, from the top; modules of one layer are in one line."""
    contracts = _settings()["tool"]["importlinter"]["contracts"]
    (layers,) = (it["layers"] for it in contracts if it.get("containers") == ["tcb_async"])
    return "\n".join(["```text", *layers, "```"])


def _settings() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def _requirements() -> str:
    """List the lowest versions of the dependencies, by extra."""
    project = _settings()["project"]
    extras = {"none": project["dependencies"], **project["optional-dependencies"]}
    rows = [(f"`{extra}`", ", ".join(found)) for extra, found in extras.items()]
    return _table(("extra", "lowest versions"), *rows)


def _core(program: str, *names: str) -> str:
    """Show these functions and classes of an example program."""
    source = (ROOT / "docs" / "examples" / program).read_text(encoding="utf-8")
    lines = source.split("\n")
    named = {getattr(node, "name", ""): node for node in ast.parse(source).body}
    parts = []
    for node in map(named.__getitem__, names):
        decorators = getattr(node, "decorator_list", ())
        first = min([node.lineno, *(decorator.lineno for decorator in decorators)])
        parts.append("\n".join(lines[first - 1 : node.end_lineno]))
    return "```py\n" + "\n\n\n".join(parts) + "\n```"


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
    for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")):
        page = path.read_text(encoding="utf-8")
        if (now := rewritten(page)) != page:
            path.write_text(now, encoding="utf-8")


if __name__ == "__main__":
    main()
