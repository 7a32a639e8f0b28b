"""Tables that the package writes about itself, so that they cannot go stale."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from docutils.parsers.rst import directives
from sphinx.util.docutils import SphinxDirective
from typer.main import get_command

from tcb_async.cli.app import app as terminal
from tcb_async.errcodes import ERRCODES, STALE_TOKEN, TOKEN_ENDPOINT_ERRCODES
from tcb_async.retry import is_retryable

if TYPE_CHECKING:
    from docutils.nodes import Node
    from sphinx.application import Sphinx

    from tcb_async.errcodes import Errcode


class ErrcodeTable(SphinxDirective):
    """Every errcode that the package knows of."""

    option_spec = {"token-endpoints": directives.flag}  # noqa: RUF012 - docutils' way

    def run(self) -> list[Node]:
        """Build the table, WeChat's own codes before those of the cloud."""
        known = dict(ERRCODES)
        if "token-endpoints" in self.options:
            rows = TOKEN_ENDPOINT_ERRCODES.items()
            known = {code: row for code, row in rows if ERRCODES.get(code) is not row}
        codes = sorted(known, key=lambda code: (code < 0, abs(code)))
        head = ("errcode, raised as", "what it means", "whose fault", "what to do", "the client")
        return self.parse_text_to_nodes(_table(head, *(_told(known[code]) for code in codes)))


def _told(row: Errcode) -> tuple[str, ...]:
    if is_retryable(row.error("")):
        done = "tries again"
    elif row.code in STALE_TOKEN and row is ERRCODES.get(row.code):
        done = "one fresh token, one replay"
    else:
        done = "raises at once"
    raised = f"`{row.code}` {{py:exc}}`~tcb_async.{row.error.__name__}`"
    return raised, row.meaning, str(row.whose), row.advice, done


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
