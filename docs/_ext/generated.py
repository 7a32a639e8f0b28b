"""Tables that the package writes about itself, so that they cannot go stale."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import chinese
from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.addnodes import index
from sphinx.errors import ExtensionError
from sphinx.util.docutils import SphinxDirective
from typer.main import get_command

from tcb_async.cli.app import app as terminal
from tcb_async.errcodes import ERRCODES, TOKEN_ENDPOINT_ERRCODES, is_stale_token
from tcb_async.retry import is_retryable

if TYPE_CHECKING:
    from docutils.nodes import Node
    from sphinx.application import Sphinx

    from tcb_async.errcodes import Errcode

_HEAD = ("errcode, raised as", "what it means", "whose fault", "what to do", "the client")


class ErrcodeTable(SphinxDirective):
    """Every errcode that the package knows of, each with an anchor and an entry in the index."""

    option_spec = {  # noqa: RUF012 - docutils' way
        "token-endpoints": directives.flag,
        "chinese": directives.flag,
    }

    def run(self) -> list[Node]:
        """Build the table, WeChat's own codes before those of the cloud."""
        at_tokens = "token-endpoints" in self.options
        known = TOKEN_ENDPOINT_ERRCODES if at_tokens else ERRCODES
        codes = sorted(known, key=lambda code: (code < 0, abs(code)))
        if "chinese" in self.options:
            words = chinese.AT_TOKEN_ENDPOINTS if at_tokens else chinese.EVERYWHERE
            told = [_told_in_chinese(known[code], words) for code in codes]
            head = chinese.HEAD
        else:
            told = [_told(known[code]) for code in codes]
            head = (
                "errcode, raised as",
                "what it means",
                "whose fault",
                "what to do",
                "the client",
            )
        table = self.parse_text_to_nodes(_table(head, *told))
        prefix = "token-errcode" if at_tokens else "errcode"
        (body,) = table[0].findall(nodes.tbody)
        for code, row in zip(codes, body.children, strict=True):
            anchor = f"{prefix}-{code}"
            # The search does not index numbers, but it does look into the index.
            entry = index(entries=[("single", str(code), anchor, "", None)])
            next(iter(row.findall(nodes.paragraph)))[:0] = [entry, nodes.target(ids=[anchor])]
        return table


def _told(row: Errcode) -> tuple[str, ...]:
    handled = {
        "retries": "retries",
        "replays": "one fresh token, one replay",
        "raises": "raises at once",
    }
    return _raised(row), row.meaning, str(row.whose), row.advice, handled[_handling(row)]


def _told_in_chinese(row: Errcode, words: dict[int, tuple[str, str]]) -> tuple[str, ...]:
    if row.code not in words:
        raise ExtensionError(f"docs/_ext/chinese.py says nothing of errcode {row.code}")
    meaning, advice = words[row.code]
    handled = chinese.HANDLED[_handling(row)]
    return _raised(row), meaning, chinese.WHOSE[str(row.whose)], advice, handled


def _raised(row: Errcode) -> str:
    return f"`{row.code}` {{py:exc}}`~tcb_async.{row.error.__name__}`"


def _handling(row: Errcode) -> str:
    if is_retryable(row.error("")):
        return "retries"
    if is_stale_token(row.code) and row is ERRCODES.get(row.code):
        return "replays"
    return "raises"


class CommandLine(SphinxDirective):
    """The arguments and options of one command of ``tcb-async``."""

    required_arguments = 1

    def run(self) -> list[Node]:
        """Build the table from what the command itself declares."""
        command: Any = get_command(terminal)
        told = [
            (_spelling(parameter), _purpose(parameter))
            for parameter in command.commands[self.arguments[0]].params
            if not parameter.hidden
        ]
        return self.parse_text_to_nodes(_table(("argument or option", "what it does"), *told))


def _spelling(parameter: Any) -> str:  # noqa: ANN401 - typer's own, which it does not export
    value = parameter.metavar
    if parameter.param_type_name == "argument":
        return f"`{value}`"
    value = "" if parameter.is_flag else f" {value}"
    return ", ".join(f"`{option}{value}`" for option in parameter.opts)


def _purpose(parameter: Any) -> str:  # noqa: ANN401 - likewise
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


def _table(*rows: tuple[str, ...]) -> str:
    lines = [" | ".join(cell.replace("|", "\\|") for cell in row) for row in rows]
    lines.insert(1, " | ".join("---" for _ in rows[0]))
    return "{.stacked}\n" + "\n".join(f"| {line} |" for line in lines)


def setup(app: Sphinx) -> dict[str, object]:
    """Add the directives."""
    app.add_directive("errcode-table", ErrcodeTable)
    app.add_directive("command-line", CommandLine)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
