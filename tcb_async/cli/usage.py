"""How help looks, and what is said to somebody who typed something else.

Rule: one sentence, as for every other error, and what was probably meant.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, NoReturn

import typer
from typer.core import TyperCommand, TyperGroup

from tcb_async.cli.errors import DONE, reporting
from tcb_async.cli.screen import Screen, flush

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Command", "CommandGroup"]

_MEANT = {
    "--limit": "pass --max-items N",
    "--count": "pass --max-items N, or use `tcb-async count`",
    "--json": "pass --format json",
    "--ndjson": "pass --format ndjson",
    "--jsonl": "pass --format ndjson",
    "--csv": "pass --format csv",
    "--yaml": "convert --format json",
    "--fields": "pass --columns",
    "--filter": "pass --name, --status or --runtime with a pattern",
    "--offset": "a listing is complete; to continue an export, pass --resume FILE",
    "--file": "pass --output FILE",
    "--env": "ENV is an argument: `tcb-async list ENV`",
    "--proxy": "set HTTPS_PROXY, and pass --trust-env",
    "--demo": "try `tcb-async list --demo`",
    "--token": "others could read it in the list of processes: set TCB_ACCESS_TOKEN",
    "--access-token": "others could read it in the list of processes: set TCB_ACCESS_TOKEN",
    "--secret": "others could read it in the list of processes: set TCB_SECRET",
    "--appsecret": "others could read it in the list of processes: set TCB_SECRET",
}
"""What people type who come from other programs."""


def _without_types(parameters: list[Any]) -> list[Any]:
    """Let no ``<bool>`` stand behind a flag, and no ``<str>`` behind an argument."""
    for parameter in parameters:
        if parameter.param_type_name == "argument" or parameter.is_flag:
            parameter.display_type_rich = _no_type
    return parameters


def _no_type(ctx: object) -> None:  # noqa: ARG001 - typer's own method
    return None


class Command(TyperCommand):
    """A command whose help has no types where there is nothing to type."""

    def get_params(self, ctx: Any) -> list[Any]:  # noqa: ANN401, D102 - typer's own method
        return _without_types(super().get_params(ctx))

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401, D102 - likewise
        try:
            return super().parse_args(ctx, args)
        except typer.TyperException as error:
            # Of an option without its value, the parser does not say of which command it is.
            usage: Any = error
            usage.ctx = getattr(usage, "ctx", None) or ctx
            raise


class CommandGroup(TyperGroup):
    """All commands: whoever types something else is told so in one sentence."""

    def get_params(self, ctx: Any) -> list[Any]:  # noqa: ANN401, D102 - typer's own method
        return _without_types(super().get_params(ctx))

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,  # noqa: ARG002, FBT002 - typer's own method
        windows_expand_args: bool = True,  # noqa: FBT002 - typer's own method
        **extra: Any,  # noqa: ANN401 - typer's own method
    ) -> NoReturn:
        """Run a command, and end the process with its exit code."""
        screen = Screen.open()  # before help is written: stdout may not know its characters
        try:
            with reporting(screen):
                code = super().main(
                    args,
                    prog_name,
                    complete_var,
                    standalone_mode=False,
                    windows_expand_args=windows_expand_args,
                    **extra,
                )
        except typer.Exit as ended:
            code = ended.exit_code
        except typer.TyperException as error:
            screen.say(f"tcb-async: {_sentence(error)}")
            code = error.exit_code
        flush()
        sys.exit(code or DONE)


def _sentence(error: Any) -> str:  # noqa: ANN401 - typer does not export its kinds of errors
    context = getattr(error, "ctx", None)
    program = "tcb-async" if context is None else context.command_path
    option, similar = getattr(error, "option_name", None), getattr(error, "possibilities", None)
    is_unknown = hasattr(error, "possibilities")  # and not an option without its value
    if is_unknown and (hint := _MEANT.get(str(option))):
        said = f"there is no option {option}: {hint}"
    elif similar:
        said = f"there is no option {option}: did you mean {' or '.join(sorted(similar))}?"
    elif isinstance(error, typer.BadParameter) and error.message:
        said = f"{_named(error)}: {error.message.removeprefix('Value error, ')}"
    else:
        said = str(error.format_message()).rstrip(".")
        said = said[:1].lower() + said[1:]
    return f"{said} (see `{program} --help`)"


def _named(error: typer.BadParameter) -> str:
    parameter = error.param
    if error.param_hint is not None or parameter is None:
        return str(error.param_hint)
    return parameter.opts[0] if parameter.param_type_name == "option" else str(parameter.metavar)
