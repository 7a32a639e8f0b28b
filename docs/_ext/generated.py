"""Parts of the documentation that are written by the package itself, so that they cannot go stale."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from docutils.parsers.rst import directives
from sphinx.util.docutils import SphinxDirective

from tcb_async import errcodes
from tcb_async.exceptions import ApiError
from tcb_async.retry import is_retryable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from docutils.nodes import Node
    from sphinx.application import Sphinx


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


class ErrcodeTable(SphinxDirective):
    """A table of every errcode that the package knows of."""

    option_spec: ClassVar[Mapping[str, Callable[[str], object]]] = {  # type: ignore[misc]
        "token-endpoints": directives.flag
    }

    def run(self) -> list[Node]:
        """Build the table, the smallest number first."""
        known = errcodes.ERRCODES
        if "token-endpoints" in self.options:
            known = {
                code: row
                for code, row in errcodes.TOKEN_ENDPOINT_ERRCODES.items()
                if known.get(code) is not row
            }
        rows = [
            (f"`{code}`", f"{{py:exc}}`~tcb_async.{row.error.__name__}`", row.meaning, row.advice, _done(row))
            for code, row in sorted(known.items(), key=lambda item: (item[0] < 0, abs(item[0])))
        ]
        head = ("errcode", "raised as", "what it means", "what to do", "what the client does")
        return self.parse_text_to_nodes(_table(head, rows))


def _done(row: errcodes.Errcode) -> str:
    if is_retryable(row.error("")):
        return "tries again"
    if row.code in errcodes.STALE_TOKEN and row is errcodes.ERRCODES.get(row.code):
        return "one fresh token, one replay"
    return "raises at once"


class CommandLine(SphinxDirective):
    """The arguments and options of one command of ``tcb-async``."""

    required_arguments = 1

    def run(self) -> list[Node]:
        """Build one table from what the command itself declares."""
        from typer.main import get_command

        from tcb_async.cli.app import app

        command = get_command(app).commands[self.arguments[0]]
        rows = []
        for parameter in command.params:
            if getattr(parameter, "hidden", False) or parameter.name in {"help"}:
                continue
            names = ", ".join(f"`{name}`" for name in parameter.opts + parameter.secondary_opts)
            if parameter.param_type_name == "argument":
                names = f"`{parameter.human_readable_name}`"
            variable = f" (`{parameter.envvar}`)" if parameter.envvar else ""
            rows.append((names + variable, (parameter.help or "").replace("\n", " ")))
        return self.parse_text_to_nodes(_table(("argument or option", "what it does"), rows))


def _set_language(
    app: Sphinx, page: str, template: str, context: dict[str, object], tree: object
) -> None:
    if page.startswith("zh/"):
        context["language"] = "zh-CN"


def _keep_first_line(
    app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]
) -> None:
    """Keep napoleon from reading "What it is: more of it" of a property as "type: description"."""
    if what == "property":
        lines.insert(0, "")


def setup(app: Sphinx) -> dict[str, object]:
    """Add the directives."""
    app.add_directive("errcode-table", ErrcodeTable)
    app.add_directive("command-line", CommandLine)
    app.connect("autodoc-process-docstring", _keep_first_line, priority=400)
    app.connect("html-page-context", _set_language)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
