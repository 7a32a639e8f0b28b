"""Tables that the package writes about itself into the pages, so that they cannot go stale.

``python docs/_ext/generated.py`` writes them again: what is between ``<!-- generated: KIND -->``
and ``<!-- /generated -->``, where KIND is ``errcodes`` or ``token-errcodes``, both also with
``chinese``, ``command NAME``, ``tree``, or ``core PROGRAM NAME …``. A test says when it is time.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import chinese

from tcb_async.cli.app import load
from tcb_async.errcodes import ERRCODES, STALE_TOKEN, TOKEN_ENDPOINT_ERRCODES
from tcb_async.retry import is_retryable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tcb_async.errcodes import Errcode

ROOT = Path(__file__).parents[2]
_HEAD = ("errcode, raised as", "what it means", "whose fault", "what to do", "the client")
_HANDLED = {
    "retries": "retries",
    "replays": "one fresh token, one replay",
    "raises": "raises at once",
}
_BLOCK = re.compile(r"(<!-- generated: ([\w .-]+) -->\n).*?(\n<!-- /generated -->)", re.DOTALL)


def rewritten(page: str) -> str:
    """Return a page with what is generated as it should be now."""
    return _BLOCK.sub(lambda block: block[1] + _written(*block[2].split()) + block[3], page)


def _written(kind: str, *words: str) -> str:
    if kind == "core":
        return _core(*words)
    if kind == "command":
        return _table(*_command(*words))
    if kind == "tree":
        return _table(*_tree())
    return _table(*_errcodes(kind, *words))


def _errcodes(kind: str, *words: str) -> list[tuple[str, ...]]:
    known = TOKEN_ENDPOINT_ERRCODES if kind == "token-errcodes" else ERRCODES
    if words == ("chinese",):
        translated = chinese.AT_TOKEN_ENDPOINTS if kind == "token-errcodes" else chinese.EVERYWHERE
        return [chinese.HEAD, *(_in_chinese(row, translated) for row in _sorted(known))]
    return [_HEAD, *map(_in_english, _sorted(known))]


def _sorted(known: Mapping[int, Errcode]) -> list[Errcode]:
    """Sort WeChat's own codes before those of the cloud."""
    return sorted(known.values(), key=lambda row: (row.code < 0, abs(row.code)))


def _in_english(row: Errcode) -> tuple[str, ...]:
    return _raised(row), row.meaning, str(row.whose), row.advice, _HANDLED[_handling(row)]


def _in_chinese(row: Errcode, words: dict[int, tuple[str, str]]) -> tuple[str, ...]:
    meaning, advice = words[row.code]
    handled = chinese.HANDLED[_handling(row)]
    return _raised(row), meaning, chinese.WHOSE[str(row.whose)], advice, handled


def _raised(row: Errcode) -> str:
    return f"`{row.code}` `{row.error.__name__}`"


def _handling(row: Errcode) -> str:
    if is_retryable(row.error("")):
        return "retries"
    if row.code in STALE_TOKEN and row is ERRCODES.get(row.code):
        return "replays"
    return "raises"


def _command(name: str) -> list[tuple[str, ...]]:
    """List the arguments and options of one command of ``tcb-async``."""
    shown = (it for it in load(name).params if not it.hidden)
    return [
        ("argument or option", "what it does"),
        *((_spelling(it), _purpose(it)) for it in shown),
    ]


def _spelling(parameter: Any) -> str:  # noqa: ANN401 - typer's own, which it does not export
    value = parameter.metavar
    if parameter.param_type_name == "argument":
        return f"`{value}`"
    value = "" if parameter.is_flag else f" {value}"
    return ", ".join(f"`{option}{value}`" for option in parameter.opts)


def _purpose(parameter: Any) -> str:  # noqa: ANN401 - as above
    text = str(parameter.help).replace("\\[", "[").replace("*", "\\*")
    text = re.sub(r"\[env var for ([^:]*): (\w+)\]", r"For \1: `\2`.", text)
    text = re.sub(r"\[env var: (\w+)\]", r"Also `\1`.", text)
    if parameter.envvar:
        text += f" Also `{parameter.envvar}`."
    if isinstance(parameter.show_default, str):
        return f"{text} Default: {parameter.show_default.strip('()')}."
    if parameter.required or parameter.default in {None, False}:
        return text
    return f"{text} Default: `{parameter.default}`."


def _tree() -> list[tuple[str, ...]]:
    """List the modules of the package with the first sentence of each."""
    package = ROOT / "tcb_async"
    rows = [("module", "what it does")]
    for path in sorted(package.rglob("*.py"), key=lambda path: (len(path.parts), path.parts)):
        sentence = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        first = re.split(r"(?<=\.)\s|\n\n", sentence)[0].replace("\n", " ").replace("``", "`")
        if path.name != "__init__.py":
            rows.append((f"`{path.relative_to(package).as_posix()}`", first))
    return rows


def _core(program: str, *names: str) -> str:
    """Show these functions and classes of an example program."""
    source = (ROOT / "docs" / "examples" / program).read_text(encoding="utf-8")
    lines = source.split("\n")
    named = {getattr(it, "name", ""): it for it in ast.parse(source).body}
    parts = []
    for it in map(named.__getitem__, names):
        first = min([it.lineno, *(line.lineno for line in getattr(it, "decorator_list", ()))])
        parts.append("\n".join(lines[first - 1 : it.end_lineno]))
    return "```py\n" + "\n\n\n".join(parts) + "\n```"


def _table(*rows: tuple[str, ...]) -> str:
    lines = [" | ".join(cell.replace("|", "\\|") for cell in row) for row in rows]
    lines.insert(1, " | ".join("---" for _ in rows[0]))
    return "<!--{.stacked}-->\n" + "\n".join(f"| {line} |" for line in lines)


def main() -> None:
    """Write every page again that has such tables."""
    for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")):
        page = path.read_text(encoding="utf-8")
        if (now := rewritten(page)) != page:
            path.write_text(now, encoding="utf-8")


if __name__ == "__main__":
    main()
